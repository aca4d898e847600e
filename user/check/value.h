/* SPDX-License-Identifier: MIT */
/* What an expression of a contract yields. All are doubles; a condition is 0 or 1; NaN: not known. */
#ifndef MEMTRACE_CHECK_VALUE_H
#define MEMTRACE_CHECK_VALUE_H

enum value_type {
	VALUE_NUMBER,
	VALUE_BYTES,
	VALUE_TIME, /* nanoseconds */
	VALUE_CONDITION,
	VALUE_ADDRESS,
};

#endif /* MEMTRACE_CHECK_VALUE_H */
