// SPDX-License-Identifier: MIT
/* libFuzzer: any bytes are a contract or an error with a place, never a crash. `make fuzz` */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "user/check/contract.h"

struct input {
	const uint8_t *data;
	size_t size;
};

/* The text itself, also for what it includes; files that include themselves must end, too. */
static int read_input(void *ctx, const char *path, char **text, size_t *length)
{
	const struct input *in = ctx;

	(void)path;
	*text = malloc(in->size + 1);
	if (!*text)
		return -ENOMEM;
	memcpy(*text, in->data, in->size);
	*length = in->size;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct contract_reader reader = {read_input, &in};
	struct contract_error e;
	struct contract *c = contract__parse("fuzz", NULL, 0, &reader, &e);

	if (!c && !*e.text)
		abort();
	contract__free(c);
	return 0;
}
