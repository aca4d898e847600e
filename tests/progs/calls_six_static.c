// FLAGS: -static
/* SPDX-License-Identifier: MIT */
/* calls_six without a dynamic loader. */
#include "calls_six.c"
