// SPDX-License-Identifier: MIT
/* Blocks that are a span: between an arena's runs and a raised threshold, or instead of mappings. */
#include "internal.h"

void *_mt_big_alloc(size_t bytes, bool *zero)
{
	size_t granules = (bytes + GRANULE - 1) >> GRANULE_SHIFT;
	struct span *span;

	if (bytes > PTRDIFF_MAX - GRANULE || granules > BREAK_GRANULES)
		return NULL;
	span = _mt_span_alloc((uint32_t)granules, SPAN_BIG);
	if (!span)
		return NULL;
	span->bytes = granules << GRANULE_SHIFT;
	*zero = true;
	for (size_t i = 0; i < granules; i++) {
		*zero &= span[i].clean == 0;
		span[i].clean = GRANULE_PAGES;
	}
	return span->start;
}

void _mt_big_free(struct span *span)
{
	_mt_span_free(span, (uint32_t)(span->bytes >> GRANULE_SHIFT));
}
