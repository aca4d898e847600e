// FLAGS: -m32
/* SPDX-License-Identifier: MIT */
/* calls_six through the 32-bit system call table. */
#include "calls_six.c"
