/* SPDX-License-Identifier: MIT */
/*
 * libc's names for ours, in the libraries that define malloc. An alias stands in the file of what
 * it names, so each file ends with its own.
 */
#ifndef MTALLOC_NAMES_H
#define MTALLOC_NAMES_H

#ifdef MT_OVERRIDE
#if __has_attribute(copy)
#define MT_COPY(ours) copy(ours),
#else
#define MT_COPY(ours)
#endif
#define MT_ALSO(result, name, parameters, ours) \
	result name parameters __attribute__((MT_COPY(ours) alias(#ours), visibility("default")));
#else
#define MT_ALSO(result, name, parameters, ours)
#endif

#endif
