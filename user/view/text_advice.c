// SPDX-License-Identifier: MIT
/* Advice: what the rules say, the figures they rest on, and the place. */
#include <stdio.h>
#include <string.h>

#include "user/view/format.h"
#include "user/view/text.h"

static bool ends_in(const char *key, const char *end)
{
	size_t n = strlen(key), m = strlen(end);

	return n >= m && !strcmp(key + n - m, end);
}

/* A key is a name for machines: its underscores go, and the unit, which the figure shows. */
static void put_evidence(struct sink *s, const struct evidence *e)
{
	bool bytes = ends_in(e->key, "_bytes"), ns = ends_in(e->key, "_ns");
	size_t i, n = strlen(e->key) - (bytes ? 6 : ns ? 3 : 0);

	for (i = 0; i < n; i++)
		sink__char(s, e->key[i] == '_' ? ' ' : e->key[i]);
	sink__char(s, ' ');
	sink__str(s, bytes ? fmt__bytes(e->value).s :
		     ns	   ? fmt__duration(e->value).s :
			     fmt__count(e->value).s);
}

void text__advice(struct sink *s, const struct report *r, const struct view_opts *o)
{
	size_t i, k;

	if (!r->nadvice)
		return;
	text__heading(s, "Advice");
	sink__char(s, '\n');
	for (i = 0; i < r->nadvice && i < o->top; i++) {
		const struct advice *a = &r->advice[i];

		sink__str(s, "  - ");
		text__wrap(s, a->text, 4, o->width);
		sink__pad(s, 4);
		for (k = 0; k < a->nevidence; k++) {
			sink__str(s, k ? ", " : "");
			put_evidence(s, &a->evidence[k]);
		}
		sink__char(s, '\n');
		if (a->site)
			text__stack(s, a->site, o);
	}
	if (i < r->nadvice)
		text__cut(s, r->nadvice - i, "remark", "remarks");
}
