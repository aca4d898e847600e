// SPDX-License-Identifier: MIT
/* The command line of memtrace check. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "user/cli_internal.h"

static const char *const format_name[CHECK_FORMATS] = {"text", "json", "tap", "junit"};

static int take_format(struct check_options *c, const char *value)
{
	unsigned i;

	for (i = 0; i < CHECK_FORMATS; i++)
		if (!strcmp(value, format_name[i])) {
			c->format = i;
			return 0;
		}
	return bad_value(OPT_FORMAT, value, "not a format (try text, json, tap, junit)");
}

static int take_define(struct check_options *c, const char *value)
{
	char **grown;

	if (!strchr(value, '=') || *value == '=')
		return bad_value('D', value, "expected NAME=VALUE (try threshold=128K)");
	grown = reallocarray(c->defines, c->ndefines + 1, sizeof(*grown));
	if (!grown) {
		fputs("memtrace: --define: out of memory\n", stderr);
		return -ENOMEM;
	}
	c->defines = grown;
	c->defines[c->ndefines++] = (char *)value;
	return 0;
}

static int take_file(struct check_options *c, enum check_format format, const char *value)
{
	c->file[format].on = true;
	c->file[format].path = value;
	return 0;
}

int cli__take_check(struct options *o, int id, const char *value)
{
	struct check_options *c = &o->check;

	switch (id) {
	case 'c':
		c->contract = value;
		return 0;
	case 'D':
		return take_define(c, value);
	case OPT_FORMAT:
		return take_format(c, value);
	case OPT_LEARN:
		c->learn = true;
		c->learn_path = value;
		return 0;
	case OPT_STRICT:
		c->strict = true;
		return 0;
	case OPT_TAP:
		return take_file(c, CHECK_TAP, value);
	case OPT_JUNIT:
		return take_file(c, CHECK_JUNIT, value);
	default:
		return 1;
	}
}

int cli__refuse_check(const struct line *line)
{
	static const int ours[] = {'c', 'D', OPT_LEARN, OPT_STRICT, OPT_FORMAT, OPT_TAP, OPT_JUNIT};
	size_t i;

	for (i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (line->given[ours[i]])
			return usage_error("--%s without check: it is about contracts "
					   "(memtrace check -c FILE -- CMD)",
					   option_name(ours[i]));
	return 0;
}

/* What a check cannot do, and why. */
static int refuse_others(const struct line *line)
{
	static const struct {
		int id;
		const char *why;
	} refused[] = {
		{'a', "a contract is held against chosen processes"},
		{'i', "there is no table"},
		{'s', "there is no stream"},
		{'n', "there is no table of places"},
		{'o', "there is no recording"},
		{OPT_SAMPLE, "a verdict needs all the evidence"},
		{OPT_COMM, "a contract is held against chosen processes"},
		{OPT_CGROUP, "a contract is held against chosen processes"},
		{OPT_JSON_SITES, "its JSON has rules, not places"},
	};
	size_t i;

	for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		if (line->given[refused[i].id])
			return usage_error("check with --%s: %s", option_name(refused[i].id),
					   refused[i].why);
	return 0;
}

int cli__decide_check(int argc, char **argv, const struct line *line, struct options *o)
{
	struct check_options *c = &o->check;
	bool command = line->command_index < argc, outputs;
	int err = refuse_others(line);

	c->on = true;
	if (o->json)
		take_file(c, CHECK_JSON, o->json_path);
	o->json = false;
	outputs = c->file[CHECK_JSON].on || c->file[CHECK_TAP].on || c->file[CHECK_JUNIT].on;
	if (err)
		return err;
	if (c->learn && c->contract)
		return usage_error("check with --learn and --contract: propose one or hold one");
	if (!c->learn && !c->contract)
		return usage_error(
			"check: which contract? Give -c FILE, or --learn to have one proposed");
	if (c->learn && (c->ndefines || c->strict || outputs || line->given[OPT_FORMAT]))
		return usage_error("check with --learn: -D, --strict and formats are of a contract");
	if (line->given['v'] && line->given['q'])
		return usage_error("-v/--verbose with -q/--quiet: say more or say less, not both");
	if (line->given['p'] && command)
		return usage_error("-p/--pid with a command (\"%s\"): attach or launch, not both",
				   argv[line->command_index]);
	if (!line->given['p'] && !command)
		return usage_error("check: nothing to trace: give -p PID or a command");
	if (line->given['u'] && !command)
		return usage_error("-u/--user without a command: it says who runs the command");
	o->mode = command ? MODE_LAUNCH : MODE_ATTACH;
	o->argv = command ? argv + line->command_index : NULL;
	if (command && !**o->argv)
		return usage_error("the command's name is empty");
	return 0;
}
