// FLAGS: -fno-builtin -static
/* SPDX-License-Identifier: MIT */
/* heap_family with an allocator in the program itself. */
#include "heap_family.c"
