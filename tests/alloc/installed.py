# SPDX-License-Identifier: MIT
"""A program of its own that is linked with the installed library, as pkg-config says.

Each case returns "" or what went wrong.
"""

import functools
import os
import shutil
import subprocess
import tempfile

LIMIT_S = 300
PREFIX = "/opt/memtrace"  # as in alloc.mk; not where a linker looks anyway
# malloc grows the break: mtalloc counts that, if it was its malloc.
SOURCE = """
#include <mtalloc.h>
#include <stdio.h>
#include <stdlib.h>
int main(void)
{
	void *volatile block = malloc(100);

	printf("%zu %zu\\n", mt_os_counts().sbrk_grow, mt_malloc_usable_size(block));
	free(block);
	return 0;
}
"""


class Broken(Exception):
    """A step failed."""


def run(command, cwd, env):
    done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S,
                          errors="replace", check=False)
    if done.returncode:
        raise Broken("%s: exit status %d: %s" % (" ".join(command), done.returncode,
                                                 done.stdout[-1000:]))
    return done.stdout


def link_and_run(stage, static, cwd):
    env = dict(os.environ, PKG_CONFIG_LIBDIR=stage + PREFIX + "/lib/pkgconfig",
               PKG_CONFIG_SYSROOT_DIR=stage)
    flags = run(["pkg-config", "--cflags", "--libs"] + ["--static"] * static + ["mtalloc"],
                cwd, env).split()
    with open(os.path.join(cwd, "own.c"), "w") as f:
        f.write(SOURCE)
    run(["cc", "-Wall", "-Werror", "-o", "own", "own.c"] + ["-static"] * static + flags, cwd, env)
    if not static:
        env["LD_LIBRARY_PATH"] = stage + PREFIX + "/lib"
    said = run([os.path.join(cwd, "own")], cwd, env).split()
    if len(said) != 2 or not int(said[0]) or int(said[1]) != 112:
        raise Broken("the program did not run on mtalloc, it says %s" % said)


def in_directory(stage, static):
    cwd = tempfile.mkdtemp(prefix="alloc-installed-")
    try:
        link_and_run(stage, static, cwd)
    except Broken as broken:
        return str(broken)
    finally:
        shutil.rmtree(cwd, ignore_errors=True)
    return ""


def cases(stage):
    """[(name, function)]; stage: where it is installed (alloc.mk)."""
    return [("installed: linked by pkg-config" + ", static" * static,
             functools.partial(in_directory, stage, static)) for static in (False, True)]
