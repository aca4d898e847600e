# SPDX-License-Identifier: MIT
#
# make help lists the targets. Variables: O=DIR (build directory), CC=gcc|clang, DEBUG=1, SAN=1
# (ASan and UBSan, in a build directory of its own), WERROR=1, V=1, CFLAGS, LDFLAGS, PREFIX,
# DESTDIR. Everything made goes under $(O).

VERSION := 0.1.0
PREFIX ?= /usr/local
DESTDIR ?=
DEBUG ?=
SAN ?=
WERROR ?=
V ?=
ifneq ($(SAN),)
O ?= build/san
else
O ?= build
endif
override O := $(patsubst %/,%,$(O))

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-print-directory -r
SHELL := /bin/sh

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-8s %s\n' $(1) $(2)
endif

# Goals that compile nothing by themselves: they need no compiler and no library yet.
META := help deps run test check-vm clean uninstall format format-check
GOALS := $(or $(MAKECMDGOALS),all)
BUILDING := $(filter-out $(META),$(GOALS))

# ---- tools and flags ------------------------------------------------------------------------

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin CXX),default)
CXX := g++
endif
CLANG ?= clang
RUSTC ?= $(shell command -v rustc 2>/dev/null)
BPFTOOL ?= $(or $(shell PATH="$$PATH:/usr/sbin:/sbin" command -v bpftool 2>/dev/null),bpftool)
PKG_CONFIG ?= pkg-config
CLANG_FORMAT ?= clang-format
AS_ROOT := .ci/as-root

ARCH := $(shell uname -m)
BPF_ARCH := $(patsubst aarch64,arm64,$(patsubst x86_64,x86,$(ARCH)))

ifneq ($(DEBUG),)
CFLAGS ?= -O0 -g3
else ifneq ($(SAN),)
CFLAGS ?= -O1 -g
else
CFLAGS ?= -O2 -g
endif

HARDEN := -fstack-protector-strong -fPIE
HARDEN_LD := -pie -Wl,-z,relro,-z,now
ifeq ($(ARCH),x86_64)
HARDEN += -fcf-protection
else ifeq ($(ARCH),aarch64)
HARDEN += -mbranch-protection=standard
endif
# glibc's fortified functions need the optimiser, and ASan has checks of its own.
ifeq ($(SAN),)
ifneq ($(filter -O1 -O2 -O3 -Os -Og,$(CFLAGS)),)
HARDEN += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
endif
else
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
endif

ifneq ($(BUILDING),)
LIB_CFLAGS := $(shell $(PKG_CONFIG) --cflags libbpf libelf libdw 2>/dev/null)
LIBS := $(shell $(PKG_CONFIG) --libs libbpf libelf libdw 2>/dev/null) -liberty -lm
CMOCKA_CFLAGS := $(shell $(PKG_CONFIG) --cflags cmocka 2>/dev/null)
CMOCKA_LIBS := $(shell $(PKG_CONFIG) --libs cmocka 2>/dev/null)
MULTIARCH := $(shell $(CC) -print-multiarch 2>/dev/null)
endif

WARN := -Wall -Wextra $(if $(WERROR),-Werror)
DEFINES := -D_GNU_SOURCE -DMEMTRACE_VERSION='"$(VERSION)"'
# CFLAGS come last: what the user asks for wins.
ALL_CFLAGS := -std=gnu17 $(WARN) -I. -I$(O) $(DEFINES) $(LIB_CFLAGS) $(HARDEN) $(SANITIZE) \
	$(CPPFLAGS) $(CFLAGS)
ALL_LDFLAGS := $(HARDEN_LD) $(SANITIZE) $(LDFLAGS)
BPF_CFLAGS := -target bpf -mcpu=v3 -O2 -g -Wall -Werror -D__TARGET_ARCH_$(BPF_ARCH) -I. \
	$(LIB_CFLAGS) $(if $(MULTIARCH),-idirafter /usr/include/$(MULTIARCH))
# Programs under trace have known counts: their flags do not follow ours.
PROG_CFLAGS := -O1 -g -fno-omit-frame-pointer -pthread -Wall -Wextra $(if $(WERROR),-Werror) -I.
ALLOC_BENCH_CFLAGS := $(addprefix -fno-builtin-,malloc calloc realloc free)
DEPFLAGS = -MMD -MP -MF $(@:%=%.d)

# ---- what there is to build -----------------------------------------------------------------

USER_SRC := $(sort $(wildcard user/*.c user/*/*.c user/*/*/*.c) $(wildcard lib/trace/*.c))
BPF_SRC := $(wildcard bpf/memtrace.bpf.c)
UNIT_SRC := $(sort $(wildcard tests/unit/test_*.c))
PROG_SRC := $(sort $(wildcard tests/progs/*.c tests/progs/*.cpp) \
	$(if $(RUSTC),$(wildcard tests/progs/*.rs)))
BENCH_SRC := $(sort $(wildcard tests/bench/*.c))
ALLOC_BENCH_SRC := $(sort $(wildcard tests/bench/alloc/*.c))

USER_OBJ := $(USER_SRC:%.c=$(O)/%.o)
LIB_OBJ := $(filter-out $(O)/user/main.o,$(USER_OBJ))
BPF_OBJ := $(if $(BPF_SRC),$(O)/memtrace.bpf.o $(O)/memtrace_plain.bpf.o)
SKEL := $(BPF_OBJ:.bpf.o=.skel.h)
UNIT := $(UNIT_SRC:%.c=$(O)/%)
PROGS := $(patsubst tests/progs/%,$(O)/progs/%,$(basename $(PROG_SRC)))
BENCH := $(BENCH_SRC:tests/bench/%.c=$(O)/bench/%)
FLOOR := $(O)/bench/floor
FLOOD := $(O)/bench/flood
ALLOC_BENCH := $(ALLOC_BENCH_SRC:tests/bench/%.c=$(O)/bench/%)
C_FILES := $(sort $(wildcard $(foreach d,bpf user lib tests, \
	$(d)/*.[ch] $(d)/*/*.[ch] $(d)/*/*/*.[ch] $(d)/*/*.cpp)))

# What of lib/trace is in both that hand allocator calls over.
PRODUCER_SRC := $(addprefix lib/trace/,producer.c sampler.c capture.c walk.c walk_rule.c walk_os.c \
	stack_table.c unwind.c unwind_program.c)

# mtalloc, from one source: defining malloc, to preload and to link with; with mt_ names only;
# that once more with the hooks of its tests; and with mistakes on purpose (lib/mtalloc/mutant.h).
MT_SRC := $(sort $(wildcard lib/mtalloc/*.c))
MT_KINDS := shared static prefixed test mutant
$(foreach k,$(MT_KINDS),$(eval MT_OBJ_$(k) := $(MT_SRC:lib/mtalloc/%.c=$(O)/lib/mtalloc/$(k)/%.o) \
	$(PRODUCER_SRC:lib/trace/%.c=$(O)/lib/mtalloc/$(k)/trace/%.o)))
MT_LIBS := $(O)/libmtalloc.so $(O)/libmtalloc.a $(O)/libmtalloc-prefixed.a

# The agent, which is preloaded into what memtrace runs.
AGENT := $(O)/libmemtrace-agent.so
AGENT_SRC := $(sort $(wildcard lib/agent/*.c) $(PRODUCER_SRC))
AGENT_OBJ := $(AGENT_SRC:%.c=$(O)/agent/%.o)

MAN := $(wildcard docs/memtrace.8)
COMPLETION := $(wildcard docs/completion/memtrace.bash)

.PHONY: all progs unit mtalloc mutants agent bench-progs bench-alloc-progs install install-mtalloc \
	uninstall clean check check-root check-tsan learn check-bench-alloc check-vm bench bench-floor \
	bench-alloc run test deps format format-check lint fuzz help FORCE
all: $(O)/memtrace mtalloc agent

mtalloc: $(MT_LIBS)
mutants: $(O)/libmtalloc-mutant.so
agent: $(AGENT)
progs: $(PROGS)
unit: $(UNIT)
bench-progs: $(BENCH) $(FLOOR) $(FLOOD)
bench-alloc-progs: $(ALLOC_BENCH)

# Rebuilds what the flags shape when one of them changes. Two makes may be at it (.ci/run), each with
# a file of its own.
$(O)/.config: FORCE
	@.ci/deps require build
	@mkdir -p $(@D)
	@{ printf '%s\n' $(call quote,$(CC) $(ALL_CFLAGS)) $(call quote,$(ALL_LDFLAGS) $(LIBS)) \
		$(call quote,$(CLANG) $(BPF_CFLAGS)) $(call quote,$(CXX) $(PROG_CFLAGS)) \
		$(call quote,$(USER_SRC) $(MT_SRC) $(AGENT_SRC)); $(CC) --version; } >$@.$$PPID
	@cmp -s $@.$$PPID $@ && rm $@.$$PPID || mv $@.$$PPID $@

quote = '$(subst ','\'',$(1))'
FORCE:

# memtrace's own memory comes from mtalloc; the sanitizers bring an allocator of their own.
$(O)/memtrace: $(O)/user/main.o $(O)/libmemtrace.a $(if $(SAN),,$(O)/libmtalloc.a)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

# All of user/ but main(): what the unit tests are linked with.
$(O)/libmemtrace.a: $(LIB_OBJ) $(O)/.config
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $(LIB_OBJ)

$(O)/user/%.o: user/%.c $(O)/.config | $(SKEL)
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(DEPFLAGS) -c -o $@ $<

$(O)/lib/trace/%.o: lib/trace/%.c $(O)/.config
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(DEPFLAGS) -c -o $@ $<

# bpftool's linker drops the DWARF and keeps the BTF. Plain: for kernels older than Linux 6.2 (see
# bpf/pointer.bpf.h).
$(O)/memtrace_plain.bpf.o: BPF_CFLAGS += -DPLAIN_POINTERS
$(BPF_OBJ): bpf/memtrace.bpf.c $(O)/.config
	$(call say,BPF,$@)
	$(Q)$(CLANG) $(BPF_CFLAGS) $(DEPFLAGS) -MT $@ -c -o $@.full $<
	$(Q)$(BPFTOOL) gen object $@ $@.full && rm -f $@.full

$(SKEL): $(O)/%.skel.h: $(O)/%.bpf.o
	$(call say,SKEL,$@)
	$(Q){ echo '/* NOLINTBEGIN */' && $(BPFTOOL) gen skeleton $< name $*_bpf && \
		echo '/* NOLINTEND */'; } >$@

# An allocator has no allocator to rely on: no stack protector before its thread data are there, and
# its entries begin with an instruction that a probe is cheap on, which endbr64 is not.
MT_CFLAGS := -std=gnu17 $(WARN) -I. -D_GNU_SOURCE -fvisibility=hidden -fno-builtin-malloc \
	-fno-builtin-calloc -ftls-model=initial-exec \
	-fdata-sections -fno-stack-protector -fcf-protection=none -fno-plt $(CPPFLAGS) $(CFLAGS)
MT_CFLAGS_shared := -fPIC -DMT_OVERRIDE
MT_CFLAGS_static := -fPIC -DMT_OVERRIDE
MT_CFLAGS_prefixed := -fPIC $(SANITIZE)
MT_CFLAGS_mutant := -fPIC -DMT_OVERRIDE -DMT_MUTANT
MT_CFLAGS_test := -fPIC $(SANITIZE) -DMT_TEST

define mt_objects
$$(O)/lib/mtalloc/$(1)/%.o: lib/mtalloc/%.c $$(O)/.config
	$$(call say,CC,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(MT_CFLAGS) $$(MT_CFLAGS_$(1)) $$(DEPFLAGS) -c -o $$@ $$<

$$(O)/lib/mtalloc/$(1)/trace/%.o: lib/trace/%.c $$(O)/.config
	$$(call say,CC,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(MT_CFLAGS) $$(MT_CFLAGS_$(1)) $$(DEPFLAGS) -c -o $$@ $$<
endef
$(foreach k,$(MT_KINDS),$(eval $(call mt_objects,$(k))))

$(O)/libmtalloc.so: $(MT_OBJ_shared)
$(O)/libmtalloc-mutant.so: $(MT_OBJ_mutant)
$(O)/libmtalloc.so $(O)/libmtalloc-mutant.so:
	$(call say,LINK,$@)
	@# One segment for all that is not written: each one more costs a process start a mapping and
	@# a fault.
	$(Q)$(CC) -shared -Wl,-soname,libmtalloc.so.0 -Wl,-z,relro,-z,now -Wl,-z,nodelete \
		-Wl,-z,noseparate-code -Wl,--sort-section=alignment,-Bsymbolic $(LDFLAGS) \
		-o $@ $^

$(O)/libmtalloc.a: $(MT_OBJ_static)
$(O)/libmtalloc-prefixed.a: $(MT_OBJ_prefixed)
$(O)/libmtalloc-test.a: $(MT_OBJ_test)
$(O)/libmtalloc.a $(O)/libmtalloc-prefixed.a $(O)/libmtalloc-test.a:
	$(call say,AR,$@)
	@# One object: whoever takes one name of libc's malloc from it shall get all of them. What of
	@# lib/trace is in it is its own, also in a program that has the same.
	$(Q)$(LD) -r -o $@.o $^ && $(if $(filter %-test.a,$@),,objcopy --localize-hidden $@.o &&) \
		rm -f $@ && ar rcs $@ $@.o && rm -f $@.o

# It is called by whoever allocates, before main() and with any libc: no stack protector, no
# fortified functions, no library of its own. Its frames can be unwound through.
AGENT_CFLAGS := -std=gnu17 $(WARN) -I. -D_GNU_SOURCE -fPIC -fvisibility=hidden -fno-builtin-malloc \
	-fno-builtin-calloc -fno-builtin-free -ftls-model=initial-exec -fno-stack-protector \
	-fcf-protection=none -fasynchronous-unwind-tables -fexceptions $(CPPFLAGS) $(CFLAGS)

$(O)/agent/%.o: %.c $(O)/.config
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(AGENT_CFLAGS) $(DEPFLAGS) -c -o $@ $<

$(AGENT): $(AGENT_OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) -shared -nostdlib -Wl,-soname,$(@F) -Wl,-z,relro,-z,now -Wl,-z,nodelete $(LDFLAGS) \
		-o $@ $^

$(O)/tests/unit/%: tests/unit/%.c $(O)/libmemtrace.a $(O)/.config | $(O)/.deps-test
	$(call say,TEST,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(CMOCKA_CFLAGS) $(DEPFLAGS) $(ALL_LDFLAGS) -o $@ $< \
		$(O)/libmemtrace.a $(CMOCKA_LIBS) $(LIBS)

$(O)/.deps-test: .ci/deps
	@.ci/deps require build test
	@mkdir -p $(@D) && touch $@

# A line "FLAGS: -static" in a comment of a program adds to its flags. A program whose flags this
# compiler cannot link with (-m32 without its libraries) is left out, aloud.
prog_flags = $$(sed -n 's|^[/* 	]*FLAGS: *\(.*\)$$|\1|p' $< | sed 's|\*/||')
can_link = echo 'int main(void) { return 0; }' | $(CC) $(prog_flags) -x c -o /dev/null - 2>/dev/null

$(O)/progs/%: tests/progs/%.c $(O)/.config
	$(call say,PROG,$@)
	@mkdir -p $(@D)
	$(Q)if [ -n "$(prog_flags)" ] && ! $(can_link); then \
		echo "$<: left out: $(CC) cannot link with" $(prog_flags) >&2; \
	else \
		$(CC) -std=gnu17 -D_GNU_SOURCE $(PROG_CFLAGS) $(DEPFLAGS) -o $@ $< $(prog_flags); \
	fi

$(O)/progs/%: tests/progs/%.cpp $(O)/.config
	$(call say,PROG,$@)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(PROG_CFLAGS) $(DEPFLAGS) -o $@ $< $(prog_flags)

$(O)/progs/%: tests/progs/%.rs $(O)/.config
	$(call say,PROG,$@)
	@mkdir -p $(@D)
	$(Q)$(RUSTC) -C opt-level=1 -g -o $@ $< $(prog_flags)

# Optimised, but for the calls of malloc and free themselves: a compiler may do without them.
$(O)/bench/alloc/%: tests/bench/alloc/%.c $(O)/.config
	$(call say,BENCH,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE $(PROG_CFLAGS) -O2 $(ALLOC_BENCH_CFLAGS) $(DEPFLAGS) \
		-o $@ $< $(prog_flags)

$(O)/bench/%: tests/bench/%.c $(O)/.config
	$(call say,BENCH,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE $(PROG_CFLAGS) $(DEPFLAGS) -o $@ $< $(prog_flags)

# What samples cost: the allocator, or the agent, that is traced by itself.
SAMPLED_mtalloc := $(MT_OBJ_shared)
SAMPLED_agent := $(AGENT_OBJ)
SAMPLED_CFLAGS_agent := -DSAMPLED_AGENT
$(O)/bench/sampled: $(O)/bench/sampled-mtalloc.so $(O)/bench/sampled-agent.so
$(O)/bench/sampled-mtalloc.so: $(MT_OBJ_shared)
$(O)/bench/sampled-agent.so: $(AGENT_OBJ)
$(O)/bench/sampled-%.so: tests/bench/sampled/preload.c $(O)/.config
	$(call say,BENCH,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(AGENT_CFLAGS) $(SAMPLED_CFLAGS_$*) -Ilib/mtalloc $(DEPFLAGS) -shared -Wl,-z,relro,-z,now \
		-Wl,-Bsymbolic -o $@ $(SAMPLED_$*) $<

# They measure what is in the library.
$(O)/bench/walk $(O)/bench/check $(O)/bench/collect: $(O)/bench/%: tests/bench/%.c $(O)/libmemtrace.a $(O)/.config
	$(call say,BENCH,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE $(PROG_CFLAGS) -O2 -fomit-frame-pointer $(DEPFLAGS) -o $@ $< \
		$(O)/libmemtrace.a -lm

# Those with a BPF program of their own.
define bench_with_bpf
$(O)/bench/$(1).bpf.o: tests/bench/$(1)/$(1).bpf.c $(O)/.config
	$$(call say,BPF,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$(CLANG) $$(BPF_CFLAGS) $$(DEPFLAGS) -MT $$@ -c -o $$@ $$<

$(O)/bench/$(1).skel.h: $(O)/bench/$(1).bpf.o
	$$(call say,SKEL,$$@)
	$$(Q)$$(BPFTOOL) gen skeleton $$< name $(1)_bpf >$$@

$(O)/bench/$(1): tests/bench/$(1)/$(1).c $(O)/bench/$(1).skel.h $(O)/.config
	$$(call say,BENCH,$$@)
	$$(Q)$$(CC) -std=gnu17 -D_GNU_SOURCE $$(PROG_CFLAGS) -I$$(@D) $$(LIB_CFLAGS) $$(DEPFLAGS) -o $$@ $$< $$(LIBS)
endef
$(foreach b,floor flood,$(eval $(call bench_with_bpf,$(b))))

-include $(foreach k,$(MT_KINDS),$(MT_OBJ_$(k):%=%.d)) $(AGENT_OBJ:%=%.d)
-include $(USER_OBJ:%=%.d) $(BPF_OBJ:%=%.d) $(UNIT:%=%.d) $(PROGS:%=%.d) $(BENCH:%=%.d) \
	$(ALLOC_BENCH:%=%.d) $(FLOOR).d $(FLOOR).bpf.o.d $(FLOOD).d $(FLOOD).bpf.o.d

include tests/alloc/alloc.mk

# ---- install --------------------------------------------------------------------------------

BINDIR = $(DESTDIR)$(PREFIX)/bin
MANDIR = $(DESTDIR)$(PREFIX)/share/man/man8
COMPDIR = $(DESTDIR)$(PREFIX)/share/bash-completion/completions
DOCDIR = $(DESTDIR)$(PREFIX)/share/doc/memtrace
LIBDIR = $(DESTDIR)$(PREFIX)/lib
PCDIR = $(LIBDIR)/pkgconfig
INCDIR = $(DESTDIR)$(PREFIX)/include
MAN3DIR = $(DESTDIR)$(PREFIX)/share/man/man3
CONTRACTDIR = $(DESTDIR)$(PREFIX)/share/memtrace/contracts
CONTRACTS := $(patsubst %,tests/contracts/%.contract,glibc jemalloc mimalloc mtalloc musl tcmalloc)
MT_VERSION := 0.1.0

install: all install-mtalloc
	install -D -m 755 $(O)/memtrace '$(BINDIR)/memtrace'
	$(if $(MAN),install -D -m 644 $(MAN) '$(MANDIR)/memtrace.8')
	$(if $(COMPLETION),install -D -m 644 $(COMPLETION) '$(COMPDIR)/memtrace')
	install -D -m 644 -t '$(DOCDIR)' LICENSE $(wildcard README.md)
	install -D -m 755 $(AGENT) '$(LIBDIR)/memtrace/libmemtrace-agent.so'
	install -D -m 644 -t '$(CONTRACTDIR)' $(CONTRACTS)

install-mtalloc: mtalloc
	install -D -m 755 $(O)/libmtalloc.so '$(LIBDIR)/libmtalloc.so.$(MT_VERSION)'
	ln -sf libmtalloc.so.$(MT_VERSION) '$(LIBDIR)/libmtalloc.so.0'
	ln -sf libmtalloc.so.0 '$(LIBDIR)/libmtalloc.so'
	install -D -m 644 -t '$(LIBDIR)' $(O)/libmtalloc.a $(O)/libmtalloc-prefixed.a
	install -D -m 644 -t '$(INCDIR)' lib/mtalloc/mtalloc.h lib/trace/mt_phase.h
	install -D -m 644 docs/mtalloc.3 '$(MAN3DIR)/mtalloc.3'
	install -d '$(PCDIR)'
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(MT_VERSION)|' lib/mtalloc/mtalloc.pc.in \
		>'$(PCDIR)/mtalloc.pc'

uninstall:
	rm -f '$(BINDIR)/memtrace' '$(MANDIR)/memtrace.8' '$(COMPDIR)/memtrace' \
		'$(DOCDIR)/LICENSE' '$(DOCDIR)/README.md'
	rm -f '$(LIBDIR)/libmtalloc.so.$(MT_VERSION)' '$(LIBDIR)/libmtalloc.so.0' \
		'$(LIBDIR)/libmtalloc.so' '$(LIBDIR)/libmtalloc.a' '$(LIBDIR)/libmtalloc-prefixed.a' \
		'$(INCDIR)/mtalloc.h' '$(INCDIR)/mt_phase.h' '$(MAN3DIR)/mtalloc.3' '$(PCDIR)/mtalloc.pc'
	rm -f '$(LIBDIR)/memtrace/libmemtrace-agent.so'
	if [ -d '$(LIBDIR)/memtrace' ]; then rmdir '$(LIBDIR)/memtrace'; fi
	rm -f $(CONTRACTS:tests/contracts/%='$(CONTRACTDIR)/%')
	for d in '$(DOCDIR)' '$(CONTRACTDIR)' '$(dir $(CONTRACTDIR))'; do \
		if [ -d "$$d" ]; then rmdir "$$d"; fi; done

clean:
	rm -rf $(O)

# ---- tests ----------------------------------------------------------------------------------
# Under libFuzzer, for some seconds: the parser of contracts, from those that there are; and the reading of
# a segment in which its process writes what it likes.
FUZZ_SRC := $(sort $(wildcard user/check/*.c user/model/*.c user/view/*.c user/util/*.c))
RING_SRC := $(addprefix user/source/ring/,segment.c clock.c) $(wildcard user/order/*.c) lib/trace/stack_table.c
FUZZ_SEGMENT_SRC := $(sort $(wildcard user/model/*.c user/util/*.c) $(RING_SRC))
FUZZ_CFLAGS := -std=gnu17 -g -O1 -I. $(DEFINES) -fsanitize=fuzzer,address,undefined \
	-fno-sanitize-recover=undefined
$(O)/fuzz/contract: tests/fuzz/contract.c $(FUZZ_SRC) $(O)/.config
	$(call say,FUZZ,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(FUZZ_CFLAGS) -o $@ $< $(FUZZ_SRC) -lm

$(O)/fuzz/segment: tests/fuzz/segment.c $(FUZZ_SEGMENT_SRC) $(O)/.config
	$(call say,FUZZ,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(FUZZ_CFLAGS) -o $@ $< $(FUZZ_SEGMENT_SRC) -lm

fuzz: $(O)/fuzz/contract $(O)/fuzz/segment | $(O)/.deps-test
	$(O)/fuzz/segment -max_total_time=$(or $(SECONDS),5) -max_len=4096 -timeout=10 \
		-verbosity=0 -print_final_stats=1 -artifact_prefix=$(O)/fuzz/
	@rm -rf $(O)/fuzz/corpus && mkdir -p $(O)/fuzz/corpus
	@cp tests/contracts/*.contract $(O)/fuzz/corpus
	$(O)/fuzz/contract -max_total_time=$(or $(SECONDS),5) -max_len=16384 -timeout=5 \
		-verbosity=0 -print_final_stats=1 -artifact_prefix=$(O)/fuzz/ $(O)/fuzz/corpus

# Both sides of the rings as threads of one process, under ThreadSanitizer. It wants the address space
# as it is without randomisation.
TSAN_SRC := tests/unit/test_ring_threads.c $(PRODUCER_SRC) $(filter-out $(PRODUCER_SRC),$(RING_SRC))
$(O)/tsan/test_ring_threads: $(TSAN_SRC) tests/unit/ring_lib.h $(O)/.config | $(O)/.deps-test
	$(call say,TSAN,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 $(WARN) -Wno-tsan -g -O1 -I. $(DEFINES) -fsanitize=thread $(CMOCKA_CFLAGS) -o $@ \
		$(TSAN_SRC) $(CMOCKA_LIBS) -lm

check-tsan: $(O)/tsan/test_ring_threads
	@TSAN_OPTIONS=halt_on_error=1:exitcode=66 setarch -R tests/unit/run $<

# What is built for whoever did not say how many jobs to run: as many as there are processors.
PARALLEL = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

# What tests/trace/run and tests/bench/run are told, through the environment.
TEST_ENV = O='$(abspath $(O))' MEMTRACE='$(abspath $(O))/memtrace' PROGS='$(abspath $(O))/progs' \
	REQUIRE_BPF='$(REQUIRE_BPF)' CC='$(CC)'

check: unit
	@tests/unit/run $(UNIT)

check-root: all progs mutants bench-alloc-progs
	@$(AS_ROOT) env $(TEST_ENV) tests/trace/run $(ARGS)

# What docs/linux-memory.md shows, written anew where it is not what is.
learn: all progs
	@$(AS_ROOT) env $(TEST_ENV) tests/trace/learn.py --refresh

# Each allocator benchmark, briefly: that it runs, and finds its own results right.
check-bench-alloc: mtalloc bench-alloc-progs
	@env $(TEST_ENV) tests/bench/alloc/run --smoke

test: deps
	@tests/sum \
		step 'build' '$(MAKE) $(PARALLEL) all progs mutants bench-progs bench-alloc-progs unit alloc-tests' \
		suite 'unit tests' '$(MAKE) check' \
		suite 'allocator benchmarks, briefly' '$(MAKE) check-bench-alloc' \
		suite 'allocator tests' '$(MAKE) check-alloc' \
		suite 'end-to-end tests' '$(MAKE) check-root'

# memtrace, built once here, under each of Debian's kernels, two at a time, each on a processor.
# ARGS="-p 1/4" to "-p 4/4" are four runs that together are the whole.
VM_KERNELS := $(or $(KERNELS),6.1 6.12)
VM_CASES = 'end-to-end tests on $(1)' "tests/vm/run -k $(1) -c $(O)/vm -t 14400 -- \
	env $(TEST_ENV) IN_VM=$(1) tests/trace/run $(ARGS)"
check-vm:
	@.ci/deps install build test vm
	@$(MAKE) all progs mutants bench-alloc-progs
	@$(AS_ROOT) tests/sum $(foreach k,$(VM_KERNELS), \
		step 'doctor on $(k)' 'tests/vm/run -k $(k) -c $(O)/vm -- $(O)/memtrace doctor') \
		$(foreach k,$(filter-out $(lastword $(VM_KERNELS)),$(VM_KERNELS)), \
			along $(call VM_CASES,$(k))) \
		suite $(call VM_CASES,$(lastword $(VM_KERNELS)))

# The hooks alone, with the least in them: what no tracer that has them can undercut.
bench-floor: $(FLOOR)
	@$(AS_ROOT) $(FLOOR) $(ARGS)

bench: all progs bench-progs
	@$(AS_ROOT) env $(TEST_ENV) BENCH='$(abspath $(O))/bench' tests/bench/run $(ARGS)

bench-alloc:
	@.ci/deps require build bench
	@$(MAKE) mtalloc bench-alloc-progs
	@env $(TEST_ENV) tests/bench/alloc/run $(ARGS)

run: deps
	@$(MAKE) $(PARALLEL) all progs
	$(Q)$(AS_ROOT) $(O)/memtrace -- $(O)/progs/demo

# ---- the rest -------------------------------------------------------------------------------

deps:
	@.ci/deps install build test

format:
	$(Q).ci/deps require lint
	$(Q)$(CLANG_FORMAT) -i $(C_FILES)

format-check:
	$(Q).ci/deps require lint
	$(Q)$(CLANG_FORMAT) --dry-run -Werror $(C_FILES)

lint: $(SKEL)
	$(Q).ci/deps require lint
	$(Q).ci/lint $(ALL_CFLAGS) $(CMOCKA_CFLAGS)

help:
	@echo 'memtrace $(VERSION)'
	@echo
	@echo '  make run           install what is needed, build, trace a demonstration program'
	@echo '  make test          install what is needed, build, run every test of this machine'
	@echo
	@echo '  make [all]         build $(O)/memtrace'
	@echo '  make install       to $$(DESTDIR)$$(PREFIX) ($(DESTDIR)$(PREFIX)); make uninstall removes it'
	@echo '  make check         unit tests (no root)'
	@echo '  make check-alloc   tests of mtalloc (no root); check-alloc-full: all that real programs do'
	@echo '  make check-root    end-to-end tests (BPF); ARGS="..." goes to tests/trace/run'
	@echo '  make learn         run what docs/linux-memory.md shows again, and write it down'
	@echo '  make check-vm      the same under other kernels, in QEMU; KERNELS="6.1 6.12",'
	@echo '                     ARGS="-k PATTERN", or "-p 1/4" for a part'
	@echo '  make check-tsan    both sides of the rings under ThreadSanitizer'
	@echo '  make fuzz          the parser of contracts and the reading of rings, fuzzed; SECONDS=5'
	@echo '  make bench         what tracing costs'
	@echo '  make bench-floor   what its hooks alone cost'
	@echo '  make bench-alloc   allocators compared: time, memory, instructions; ARGS="..."'
	@echo '  make deps          install missing Debian packages'
	@echo '  make format        clang-format in place; make format-check only looks'
	@echo '  make lint          cppcheck, clang-tidy, shellcheck'
	@echo '  make clean         remove $(O)/'
	@echo
	@echo 'Variables: O=DIR CC=gcc|clang CFLAGS=... DEBUG=1 SAN=1 WERROR=1 V=1 PREFIX=DIR DESTDIR=DIR'
