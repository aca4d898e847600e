# SPDX-License-Identifier: MIT
#
# The allocator's tests, included by the Makefile. Each program is built in several ways; a way is
# a directory under $(O)/alloc, the runner (tests/alloc/run) knows what runs in which:
#
#   libc    with malloc's names: libc's allocator, or a preloaded one
#   static  with libmtalloc.a, statically
#   mt      with libmtalloc-prefixed.a
#   test    with libmtalloc-test.a: invariants and failures of system calls
#   asan    the same with ASan and UBSan, tsan with TSan, the allocator included

ALLOC_PROGS := conformance sizes random threads lifecycle limits
ALLOC_libc := $(ALLOC_PROGS) operators statistics death pattern giveback checked
ALLOC_static := conformance random threads operators
ALLOC_mt := $(ALLOC_PROGS) statistics death pattern giveback
ALLOC_test := $(ALLOC_PROGS) osfail giveback
ALLOC_asan := conformance random threads osfail
ALLOC_tsan := random threads
ALLOC_WAYS := libc static mt test asan tsan

ALLOC_SAN_asan := -fsanitize=address,undefined -fno-sanitize-recover=undefined
ALLOC_SAN_tsan := -fsanitize=thread
ALLOC_CFLAGS := -D_GNU_SOURCE -O1 -g -pthread -fno-omit-frame-pointer -Wall -Wextra \
	$(if $(WERROR),-Werror) -I.
ALLOC_CFLAGS_static := -DALLOC_STATIC
ALLOC_CFLAGS_test := -DMT_TEST
ALLOC_CFLAGS_asan := -DMT_TEST $(ALLOC_SAN_asan)
ALLOC_CFLAGS_tsan := -DMT_TEST $(ALLOC_SAN_tsan)
ALLOC_LDFLAGS_static := -static
ALLOC_LIB_tsan := $(O)/alloc/tsan/libmtalloc.a
ALLOC_API_libc := api_libc
ALLOC_API_static := api_libc
ALLOC_LIB_static := $(O)/libmtalloc.a
ALLOC_LIB_mt := $(O)/libmtalloc-prefixed.a
ALLOC_LIB_test := $(O)/libmtalloc-test.a
ALLOC_LIB_asan := $(O)/alloc/asan/libmtalloc.a

ALLOC_TESTS := $(foreach w,$(ALLOC_WAYS),$(ALLOC_$(w):%=$(O)/alloc/$(w)/%)) $(O)/alloc/plugin.so

define alloc_way
$$(O)/alloc/$(1)/%.o: tests/alloc/%.c $$(O)/.config
	$$(call say,CC,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) -std=gnu17 $$(ALLOC_CFLAGS) $$(ALLOC_CFLAGS_$(1)) $$(DEPFLAGS) -c -o $$@ $$<

$$(O)/alloc/$(1)/%.o: tests/alloc/%.cpp $$(O)/.config
	$$(call say,CXX,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$(CXX) -std=c++17 $$(ALLOC_CFLAGS) $$(ALLOC_CFLAGS_$(1)) $$(DEPFLAGS) -c -o $$@ $$<

$$(ALLOC_$(1):%=$$(O)/alloc/$(1)/%): $$(O)/alloc/$(1)/%: $$(O)/alloc/$(1)/%.o \
		$$(O)/alloc/$(1)/case.o $$(O)/alloc/$(1)/$(or $(ALLOC_API_$(1)),api_mt).o \
		$$(ALLOC_LIB_$(1))
	$$(call say,LINK,$$@)
	$$(Q)$$(if $$(filter operators,$$(@F)),$$(CXX),$$(CC)) -pthread $$(ALLOC_LDFLAGS_$(1)) \
		$$(ALLOC_SAN_$(1)) -o $$@ $$^
endef
$(foreach w,$(ALLOC_WAYS),$(eval $(call alloc_way,$(w))))

# mtalloc under a sanitizer.
define alloc_sanitized
$$(O)/alloc/$(1)/lib/%.o: lib/mtalloc/%.c $$(O)/.config
	$$(call say,CC,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(MT_CFLAGS) $$(ALLOC_CFLAGS_$(1)) $$(DEPFLAGS) -c -o $$@ $$<

$$(O)/alloc/$(1)/lib/trace/%.o: lib/trace/%.c $$(O)/.config
	$$(call say,CC,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(MT_CFLAGS) $$(ALLOC_CFLAGS_$(1)) $$(DEPFLAGS) -c -o $$@ $$<

$$(O)/alloc/$(1)/libmtalloc.a: $$(MT_SRC:lib/mtalloc/%.c=$$(O)/alloc/$(1)/lib/%.o) \
		$$(PRODUCER_SRC:lib/trace/%.c=$$(O)/alloc/$(1)/lib/trace/%.o)
	$$(call say,AR,$$@)
	$$(Q)rm -f $$@ && ar rcs $$@ $$^
endef
$(foreach w,asan tsan,$(eval $(call alloc_sanitized,$(w))))

$(O)/alloc/plugin.so: tests/alloc/plugin.c $(O)/.config
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 $(ALLOC_CFLAGS) $(DEPFLAGS) -fPIC -shared -o $@ $<

# The library as a package has it, for a program that is linked with it.
$(O)/alloc/installed: $(MT_LIBS) lib/mtalloc/mtalloc.pc.in lib/mtalloc/mtalloc.h
	$(call say,INSTALL,$@)
	@rm -rf $@
	@$(MAKE) -s --no-print-directory install-mtalloc DESTDIR='$(abspath $@)' PREFIX=/opt/memtrace
	@touch $@

.PHONY: alloc-tests check-alloc check-alloc-full
.SECONDARY: $(foreach w,$(ALLOC_WAYS),$(ALLOC_$(w):%=$(O)/alloc/$(w)/%.o))
alloc-tests: mtalloc $(ALLOC_TESTS) $(O)/alloc/installed

check-alloc: alloc-tests $(O)/.deps-test
	@O='$(abspath $(O))' tests/alloc/run $(ARGS)

# All of what real programs do, not only what fits into continuous integration.
check-alloc-full: alloc-tests $(O)/.deps-test
	@O='$(abspath $(O))' tests/alloc/run --full $(ARGS)

-include $(wildcard $(O)/alloc/*/*.d $(O)/alloc/*/lib/*.d $(O)/alloc/*.d)
