/* SPDX-License-Identifier: MIT */
/* Buffered output of the views, and what makes untrusted text safe to print. */
#include "user/view/sink.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

void sink__init(struct sink *s, FILE *out, bool color)
{
	s->out = out;
	s->err = 0;
	s->color = color;
	s->col = 0;
	s->len = 0;
}

static void sink__drain(struct sink *s)
{
	if (s->len > 0 && s->err == 0) {
		errno = 0;
		if (fwrite(s->buf, 1, s->len, s->out) != s->len)
			s->err = errno ? -errno : -EIO;
	}
	s->len = 0;
}

int sink__finish(struct sink *s)
{
	sink__drain(s);
	if (s->err == 0 && ferror(s->out))
		s->err = -EIO;
	return s->err;
}

int sink__finish_flush(struct sink *s)
{
	sink__drain(s);
	errno = 0;
	if (fflush(s->out) != 0 && s->err == 0)
		s->err = errno ? -errno : -EIO;
	return sink__finish(s);
}

void sink__raw(struct sink *s, const char *bytes, size_t n, unsigned cols)
{
	s->col += cols;
	while (n > 0) {
		size_t part = SINK_BYTES - s->len;

		if (part > n)
			part = n;
		memcpy(s->buf + s->len, bytes, part);
		s->len += part;
		bytes += part;
		n -= part;
		if (s->len == SINK_BYTES)
			sink__drain(s);
	}
}

void sink__put(struct sink *s, const char *text, size_t n)
{
	sink__raw(s, text, n, (unsigned)n);
	if (n > 0 && text[n - 1] == '\n')
		s->col = 0;
}

void sink__str(struct sink *s, const char *text)
{
	sink__put(s, text, strlen(text));
}

void sink__char(struct sink *s, char c)
{
	sink__put(s, &c, 1);
}

void sink__dec(struct sink *s, uint64_t n)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	sink__put(s, digits + at, sizeof(digits) - at);
}

void sink__hex(struct sink *s, uint64_t n)
{
	char digits[18];
	size_t at = sizeof(digits);

	do {
		digits[--at] = "0123456789abcdef"[n % 16];
		n /= 16;
	} while (n > 0);
	digits[--at] = 'x';
	digits[--at] = '0';
	sink__put(s, digits + at, sizeof(digits) - at);
}

void sink__pad(struct sink *s, unsigned col)
{
	while (s->col < col)
		sink__char(s, ' ');
}

void sink__right(struct sink *s, const char *text, unsigned width)
{
	size_t n = strlen(text);

	if (n < width)
		sink__pad(s, s->col + width - (unsigned)n);
	sink__put(s, text, n);
}

void sink__printf(struct sink *s, const char *format, ...)
{
	char line[512];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof(line)) {
		if (s->err == 0)
			s->err = -EOVERFLOW;
		return;
	}
	sink__put(s, line, (size_t)n);
}

void sink__sgr(struct sink *s, const char *attribute)
{
	if (!s->color)
		return;
	sink__raw(s, "\033[", 2, 0);
	sink__raw(s, attribute, strlen(attribute), 0);
	sink__raw(s, "m", 1, 0);
}

unsigned utf8__decode(const char *text, uint32_t *code)
{
	const unsigned char *p = (const unsigned char *)text;
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	unsigned length, i;
	uint32_t c;

	if (p[0] < 0x80) {
		*code = p[0];
		return 1;
	}
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		length = 2;
	else if (p[0] >= 0xe0 && p[0] <= 0xef)
		length = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		length = 4;
	else
		return 0;
	c = p[0] & (0x7fu >> length);
	for (i = 1; i < length; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[length] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*code = c;
	return length;
}

bool utf8__is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x61c || (c >= 0x200e && c <= 0x200f) ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff ||
	       (c >= 0xfff9 && c <= 0xfffb) || (c >= 0xe0000 && c <= 0xe007f);
}

static unsigned utf8__columns(uint32_t c)
{
	if ((c >= 0x300 && c <= 0x36f) || (c >= 0x200b && c <= 0x200d) ||
	    (c >= 0xfe00 && c <= 0xfe0f))
		return 0;
	if ((c >= 0x1100 && c <= 0x115f) || (c >= 0x2e80 && c <= 0xa4cf) ||
	    (c >= 0xac00 && c <= 0xd7a3) || (c >= 0xf900 && c <= 0xfaff) ||
	    (c >= 0xfe30 && c <= 0xfe6f) || (c >= 0xff00 && c <= 0xff60) ||
	    (c >= 0xffe0 && c <= 0xffe6) || (c >= 0x1f300 && c <= 0x1faff) ||
	    (c >= 0x20000 && c <= 0x3fffd))
		return 2;
	return 1;
}

/* What is printed for one character of untrusted text. */
struct piece {
	char text[16]; /* four bytes escaped, four characters each */
	unsigned length, cols;
};

/* As strace: the shortest octal form that the next character cannot prolong. */
static void piece__octal(struct piece *out, unsigned char byte, char next)
{
	bool full = next >= '0' && next <= '9';
	char *text = out->text + out->length;
	unsigned n = 0;

	text[n++] = '\\';
	if (full || byte >= 0100)
		text[n++] = (char)('0' + (byte >> 6));
	if (full || byte >= 010)
		text[n++] = (char)('0' + (byte >> 3 & 7));
	text[n++] = (char)('0' + (byte & 7));
	out->length += n;
	out->cols += n;
}

/* Escape the character at p; returns how many bytes of p it is. */
static unsigned piece__make(struct piece *out, const char *p, const char *also)
{
	static const char letters[] = "\tt\nn\vv\ff\rr\\\\\"\"";
	const char *letter;
	uint32_t code;
	unsigned i, n;

	out->length = 0;
	out->cols = 0;
	n = utf8__decode(p, &code);
	if (n == 1) {
		for (letter = letters; *letter; letter += 2) {
			if (*letter != *p || (*p == '"' && !(also && strchr(also, '"'))))
				continue;
			out->text[0] = '\\';
			out->text[1] = letter[1];
			out->length = out->cols = 2;
			return 1;
		}
	}
	if (n == 0 || utf8__is_control(code) || (n == 1 && also && strchr(also, *p))) {
		n = n ? n : 1;
		for (i = 0; i < n; i++)
			piece__octal(out, (unsigned char)p[i], p[i + 1]);
		return n;
	}
	memcpy(out->text, p, n);
	out->length = n;
	out->cols = utf8__columns(code);
	return n;
}

/* How much of text is ASCII that needs no escape. */
static size_t plain_length(const char *text, const char *also)
{
	size_t n = 0;

	while (text[n] >= 0x20 && text[n] < 0x7f && text[n] != '\\' &&
	       !(also && strchr(also, text[n])))
		n++;
	return n;
}

void sink__safe(struct sink *s, const char *text, const char *also)
{
	struct piece piece;
	size_t n;

	for (;;) {
		n = plain_length(text, also);
		sink__put(s, text, n);
		text += n;
		if (!*text)
			break;
		text += piece__make(&piece, text, also);
		sink__raw(s, piece.text, piece.length, piece.cols);
	}
}

void sink__safe_n(struct sink *s, const char *text, size_t max, const char *also)
{
	char copy[64];
	size_t n = strnlen(text, max < sizeof(copy) - 1 ? max : sizeof(copy) - 1);

	memcpy(copy, text, n);
	copy[n] = '\0';
	sink__safe(s, copy, also);
}

unsigned safe__columns(const char *text)
{
	struct piece piece;
	unsigned cols = 0;

	while (*text) {
		text += piece__make(&piece, text, NULL);
		cols += piece.cols;
	}
	return cols;
}

void sink__clip(struct sink *s, const char *text, unsigned cols)
{
	struct piece piece;
	unsigned used = 0;

	if (safe__columns(text) <= cols) {
		sink__safe(s, text, NULL);
		return;
	}
	if (cols == 0)
		return;
	for (;;) {
		text += piece__make(&piece, text, NULL);
		if (used + piece.cols > cols - 1)
			break;
		used += piece.cols;
		sink__raw(s, piece.text, piece.length, piece.cols);
	}
	sink__raw(s, "…", strlen("…"), 1);
}
