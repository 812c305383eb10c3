/* Functions in C that a Stockade host runs inside its sandbox: version 1 of the guest ABI (docs/abi.md).
 *
 *     #include "stockade.h"
 *
 *     STOCKADE_DESCRIBE(add, STOCKADE_PARAM("a", "u32") "," STOCKADE_PARAM("b", "u32"), "u64", "The sum.")
 *     STOCKADE_WORK(add) {
 *         uint32_t a = stockade_get_u32(in);
 *         uint32_t b = stockade_get_u32(in);
 *         if (!stockade_end(in)) return;
 *         stockade_put_u64(out, (uint64_t)a + b);
 *     }
 *
 * `in` holds the arguments and `out` takes the result. Both are read and written from left to right, in whichever
 * codec the host chose: the same code serves bincode and JSON. An argument that is not what was asked for turns `in`
 * into an error that stays: what is read after it is zero or empty, `stockade_end` is false, and the host is told what
 * was wrong, whatever was written to `out`.
 *
 * C99, header only: include it in one source file of a guest, which then has all the exports that the ABI asks for.
 * No C library is needed:
 *
 *     clang --target=wasm32 -O2 -nostdlib -Wl,--no-entry guest.c -o guest.wasm
 *
 * With one, define STOCKADE_LIBC before the include; memory is then the library's, and JSON may have fractions:
 *
 *     clang --target=wasm32-wasi -O2 -mexec-model=reactor guest.c -o guest.wasm
 *
 * (`-mexec-model=reactor` is not to be left out: without it static constructors would run at every call.)
 *
 * What it has no words for: maps, structs and enums other than `Option` and `Result`. A struct or a tuple is, in
 * bincode, its fields one after the other; in JSON, stockade_get_tuple reads an array.
 */
#ifndef STOCKADE_H
#define STOCKADE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef STOCKADE_LIBC
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#endif

/* What is not used costs nothing and warns of nothing. */
#define STOCKADE_FN static inline __attribute__((unused))

enum { STOCKADE_BINCODE = 0, STOCKADE_JSON = 1 };
enum { STOCKADE_VALUE = 0, STOCKADE_NOT_UNDERSTOOD = 1, STOCKADE_NOT_ENCODABLE = 2 };

/* ---- The host ------------------------------------------------------------------------------------------------- */

/* The cause of the trap that follows: UTF-8, a message, a zero byte, and a place in the source. */
__attribute__((import_module("stockade"), import_name("panic"))) void stockade_host_panic(const char *ptr, size_t len);
/* Makes a record in the host's log: level 1 error, 2 warning, 3 information, 4 debugging, 5 trace. */
__attribute__((import_module("stockade"), import_name("log"))) void stockade_host_log(uint32_t level, const char *ptr, size_t len);
/* Says that `done` of `total` is done; `total` is 0 where it is not known. */
__attribute__((import_module("stockade"), import_name("progress"))) void stockade_host_progress(uint64_t done, uint64_t total);
/* Hands over one value, encoded in the codec of the request, and waits until it is taken. */
__attribute__((import_module("stockade"), import_name("emit"))) void stockade_host_emit(const void *ptr, size_t len);
/* Calls a function of the host's with a request (codec byte, arguments; docs/abi.md has how to name their types, for the
 * host to compare); the answer is ptr << 32 | len. */
__attribute__((import_module("stockade"), import_name("call"))) uint64_t stockade_host_call(const char *name, size_t name_len, const void *ptr, size_t len);

#define STOCKADE_TEXT_(x) #x
#define STOCKADE_TEXT(x) STOCKADE_TEXT_(x)

/* Ends the call; the host gets the message, a string literal, and this place in the source. */
#define STOCKADE_PANIC(message) \
    do { \
        static const char report_[] = message "\0" __FILE__ ":" STOCKADE_TEXT(__LINE__); \
        stockade_host_panic(report_, sizeof report_ - 1); \
        __builtin_trap(); \
    } while (0)

/* ---- Memory --------------------------------------------------------------------------------------------------- */

#ifdef STOCKADE_LIBC

STOCKADE_FN void *stockade_take(size_t len) { return malloc(len ? len : 1); }
STOCKADE_FN void stockade_give(void *ptr) { free(ptr); }
STOCKADE_FN void stockade_give_all(void) {}

#else

/* Compilers call these four whether there is a C library or not. */
#define STOCKADE_MEM_ __attribute__((weak, no_builtin))
STOCKADE_MEM_ void *memcpy(void *restrict to, const void *restrict from, size_t len) {
    for (size_t i = 0; i < len; i++) ((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
    return to;
}
STOCKADE_MEM_ void *memmove(void *to, const void *from, size_t len) {
    if ((uintptr_t)to <= (uintptr_t)from) {
        for (size_t i = 0; i < len; i++) ((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
    } else {
        while (len--) ((uint8_t *)to)[len] = ((const uint8_t *)from)[len];
    }
    return to;
}
STOCKADE_MEM_ void *memset(void *to, int byte, size_t len) {
    for (size_t i = 0; i < len; i++) ((uint8_t *)to)[i] = (uint8_t)byte;
    return to;
}
STOCKADE_MEM_ int memcmp(const void *a, const void *b, size_t len) {
    for (size_t i = 0; i < len; i++) {
        int difference = ((const uint8_t *)a)[i] - ((const uint8_t *)b)[i];
        if (difference) return difference;
    }
    return 0;
}

/* One call after the other: what a call took is given back at its end, all at once. */
extern uint8_t __heap_base;
static uintptr_t stockade_next_;

STOCKADE_FN void *stockade_take(size_t len) {
    uintptr_t at = stockade_next_ ? stockade_next_ : (((uintptr_t)&__heap_base + 15) & ~(uintptr_t)15);
    uint64_t end = ((uint64_t)at + len + 15) & ~(uint64_t)15;
    uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) << 16;
    if (end > UINT32_MAX) return NULL;
    if (end > have) {
        size_t pages = (size_t)((end - have + 65535) >> 16);
        if (__builtin_wasm_memory_grow(0, pages) == SIZE_MAX) return NULL;
    }
    stockade_next_ = (uintptr_t)end;
    return (void *)at;
}
STOCKADE_FN void stockade_give(void *ptr) { (void)ptr; }
STOCKADE_FN void stockade_give_all(void) { stockade_next_ = 0; }

#endif

/* Memory until the end of this call. There is always some: a guest without memory ends. With a C library it is the
 * guest's own to free. */
STOCKADE_FN void *stockade_memory(size_t len) {
    void *ptr = stockade_take(len);
    if (!ptr) STOCKADE_PANIC("out of memory");
    return ptr;
}

/* The two exports by which the host passes a request and takes a reply. */
__attribute__((export_name("stockade_alloc"))) void *stockade_alloc(size_t len) { return stockade_take(len); }
__attribute__((export_name("stockade_free"))) void stockade_free(void *ptr, size_t len) {
    (void)len;
    stockade_give(ptr);
    stockade_give_all();
}

/* ---- Arguments ------------------------------------------------------------------------------------------------ */

/* The arguments of one call. The fields are nobody's business. */
typedef struct {
    uint8_t *at, *end;
    uint8_t codec;
    bool comma;        /* JSON: a comma stands before the next value. */
    bool ended;
    const char *error; /* The first one; what follows it is not read. */
} stockade_in;

/* Text or bytes that lie in the request: valid until the function returns, not ended by a zero. */
typedef struct {
    const uint8_t *ptr;
    size_t len;
} stockade_slice;

/* Makes the arguments an error: `reason`, a string that stays, is what the caller reads. */
STOCKADE_FN void stockade_refuse(stockade_in *in, const char *reason) {
    if (!in->error) in->error = reason;
}

/* Whether all arguments so far were what they should be. */
STOCKADE_FN bool stockade_ok(const stockade_in *in) { return !in->error; }

STOCKADE_FN uint8_t stockade_byte_(stockade_in *in) {
    if (in->error) return 0;
    if (in->at == in->end) {
        stockade_refuse(in, "the request ends early");
        return 0;
    }
    return *in->at++;
}

STOCKADE_FN uint64_t stockade_little_endian_(stockade_in *in, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)stockade_byte_(in) << (8 * i);
    return value;
}

/* bincode's integers: a byte below 251 is the number, 251 to 253 announce two, four and eight bytes. */
STOCKADE_FN uint64_t stockade_varint_(stockade_in *in) {
    uint8_t first = stockade_byte_(in);
    if (first < 251) return first;
    if (first > 253) {
        stockade_refuse(in, "an integer has more than 64 bits");
        return 0;
    }
    return stockade_little_endian_(in, 2 << (first - 251));
}

STOCKADE_FN void stockade_skip_space_(stockade_in *in) {
    while (in->at != in->end && (*in->at == ' ' || *in->at == '\n' || *in->at == '\t' || *in->at == '\r')) in->at++;
}

/* Takes this character of JSON, if it comes next. */
STOCKADE_FN bool stockade_eat_(stockade_in *in, char wanted) {
    if (in->error) return false;
    stockade_skip_space_(in);
    if (in->at == in->end || *in->at != (uint8_t)wanted) return false;
    in->at++;
    return true;
}

STOCKADE_FN bool stockade_eat_word_(stockade_in *in, const char *word, size_t len) {
    stockade_skip_space_(in);
    if ((size_t)(in->end - in->at) < len) return false;
    for (size_t i = 0; i < len; i++) {
        if (in->at[i] != (uint8_t)word[i]) return false;
    }
    in->at += len;
    return true;
}

/* Before each JSON value. */
STOCKADE_FN void stockade_begin_(stockade_in *in) {
    if (in->comma && !stockade_eat_(in, ',')) stockade_refuse(in, "an argument or an element is missing");
    in->comma = true;
    stockade_skip_space_(in);
}

/* A JSON integer: its absolute value, and its sign. */
STOCKADE_FN uint64_t stockade_json_integer_(stockade_in *in, bool *negative) {
    uint64_t value = 0;
    stockade_begin_(in);
    *negative = stockade_eat_(in, '-');
    if (in->error || in->at == in->end || *in->at < '0' || *in->at > '9') {
        stockade_refuse(in, "an integer was expected");
        return 0;
    }
    for (; in->at != in->end && *in->at >= '0' && *in->at <= '9'; in->at++) {
        uint64_t digit = (uint64_t)(*in->at - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            stockade_refuse(in, "an integer is too large");
            return 0;
        }
        value = value * 10 + digit;
    }
    if (in->at != in->end && (*in->at == '.' || *in->at == 'e' || *in->at == 'E'))
        stockade_refuse(in, "an integer was expected, not a fraction");
    return value;
}

STOCKADE_FN uint64_t stockade_unsigned_(stockade_in *in, uint64_t max) {
    bool negative = false;
    uint64_t value = in->codec == STOCKADE_JSON ? stockade_json_integer_(in, &negative) : stockade_varint_(in);
    if ((negative && value) || value > max) {
        stockade_refuse(in, "an integer is out of range");
        return 0;
    }
    return in->error ? 0 : value;
}

STOCKADE_FN int64_t stockade_signed_(stockade_in *in, int64_t min, int64_t max) {
    int64_t value = 0;
    bool fits = true;
    if (in->codec == STOCKADE_JSON) {
        bool negative = false;
        uint64_t absolute = stockade_json_integer_(in, &negative);
        fits = absolute <= (uint64_t)INT64_MAX + (negative ? 1 : 0);
        value = (int64_t)(negative ? 0 - absolute : absolute);
    } else {
        /* 0, -1, 1, -2 are 0, 1, 2, 3. */
        uint64_t zigzag = stockade_varint_(in);
        value = (int64_t)((zigzag >> 1) ^ (0 - (zigzag & 1)));
    }
    if (!fits || value < min || value > max) stockade_refuse(in, "an integer is out of range");
    return in->error ? 0 : value;
}

STOCKADE_FN uint16_t stockade_get_u16(stockade_in *in) { return (uint16_t)stockade_unsigned_(in, UINT16_MAX); }
STOCKADE_FN uint32_t stockade_get_u32(stockade_in *in) { return (uint32_t)stockade_unsigned_(in, UINT32_MAX); }
STOCKADE_FN uint64_t stockade_get_u64(stockade_in *in) { return stockade_unsigned_(in, UINT64_MAX); }
STOCKADE_FN int16_t stockade_get_i16(stockade_in *in) { return (int16_t)stockade_signed_(in, INT16_MIN, INT16_MAX); }
STOCKADE_FN int32_t stockade_get_i32(stockade_in *in) { return (int32_t)stockade_signed_(in, INT32_MIN, INT32_MAX); }
STOCKADE_FN int64_t stockade_get_i64(stockade_in *in) { return stockade_signed_(in, INT64_MIN, INT64_MAX); }

/* Integers of eight bits are the byte itself. */
STOCKADE_FN uint8_t stockade_get_u8(stockade_in *in) {
    return in->codec == STOCKADE_JSON ? (uint8_t)stockade_unsigned_(in, UINT8_MAX) : stockade_byte_(in);
}
STOCKADE_FN int8_t stockade_get_i8(stockade_in *in) {
    return in->codec == STOCKADE_JSON ? (int8_t)stockade_signed_(in, INT8_MIN, INT8_MAX) : (int8_t)stockade_byte_(in);
}

STOCKADE_FN bool stockade_get_bool(stockade_in *in) {
    if (in->codec == STOCKADE_JSON) {
        stockade_begin_(in);
        if (in->error || stockade_eat_word_(in, "false", 5)) return false;
        if (stockade_eat_word_(in, "true", 4)) return true;
    } else {
        uint8_t byte = stockade_byte_(in);
        if (byte < 2) return byte;
    }
    stockade_refuse(in, "a bool was expected");
    return false;
}

#ifdef STOCKADE_LIBC
STOCKADE_FN double stockade_json_float_(stockade_in *in) {
    char text[64];
    size_t len = 0;
    stockade_begin_(in);
    while (in->at != in->end && len < sizeof text - 1) {
        uint8_t c = *in->at;
        if (!((c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E')) break;
        text[len++] = (char)*in->at++;
    }
    text[len] = 0;
    char *end = text;
    double value = len && text[0] != '+' && text[0] != '.' ? strtod(text, &end) : 0;
    if (!len || end != text + len) stockade_refuse(in, "a number was expected");
    return in->error ? 0 : value;
}
#else
STOCKADE_FN double stockade_json_float_(stockade_in *in) {
    bool negative = false;
    uint64_t value = stockade_json_integer_(in, &negative);
    if (in->error) in->error = "a whole number was expected: this guest reads no fractions from JSON (STOCKADE_LIBC)";
    return negative ? -(double)value : (double)value;
}
#endif

STOCKADE_FN double stockade_get_f64(stockade_in *in) {
    if (in->codec == STOCKADE_JSON) return stockade_json_float_(in);
    union { uint64_t bits; double value; } number = { stockade_little_endian_(in, 8) };
    return number.value;
}
STOCKADE_FN float stockade_get_f32(stockade_in *in) {
    if (in->codec == STOCKADE_JSON) return (float)stockade_json_float_(in);
    union { uint32_t bits; float value; } number = { (uint32_t)stockade_little_endian_(in, 4) };
    return number.value;
}

STOCKADE_FN uint32_t stockade_hex4_(stockade_in *in) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t c = stockade_byte_(in), low = c | 0x20;
        if (c >= '0' && c <= '9') value = value << 4 | (uint32_t)(c - '0');
        else if (low >= 'a' && low <= 'f') value = value << 4 | (uint32_t)(low - 'a' + 10);
        else stockade_refuse(in, "a string has a bad escape");
    }
    return value;
}

STOCKADE_FN uint8_t *stockade_utf8_(uint8_t *to, uint32_t c) {
    if (c < 0x80) {
        *to++ = (uint8_t)c;
    } else {
        int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
        *to++ = (uint8_t)(c >> (6 * more) | (0xf80u >> more & 0xff));
        while (more--) *to++ = (uint8_t)(0x80 | (c >> (6 * more) & 0x3f));
    }
    return to;
}

STOCKADE_FN uint32_t stockade_escape_(stockade_in *in) {
    uint8_t c = stockade_byte_(in);
    switch (c) {
        case 'b': return '\b';
        case 'f': return '\f';
        case 'n': return '\n';
        case 'r': return '\r';
        case 't': return '\t';
        case '"': case '\\': case '/': return c;
        case 'u': break;
        default: stockade_refuse(in, "a string has a bad escape"); return 0;
    }
    uint32_t unit = stockade_hex4_(in);
    if (unit < 0xd800 || unit > 0xdfff) return unit;
    uint32_t low = 0;
    if (unit < 0xdc00 && stockade_byte_(in) == '\\' && stockade_byte_(in) == 'u') low = stockade_hex4_(in);
    if (low < 0xdc00 || low > 0xdfff) {
        stockade_refuse(in, "a string has half a surrogate pair");
        return 0;
    }
    return 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
}

/* Text in UTF-8, as hosts encode it; it is not checked. A JSON string is unescaped where it lies: no escape is shorter than what it stands for. */
STOCKADE_FN stockade_slice stockade_get_str(stockade_in *in) {
    stockade_slice none = { in->at, 0 };
    if (in->codec == STOCKADE_JSON) {
        stockade_begin_(in);
        if (!stockade_eat_(in, '"')) {
            stockade_refuse(in, "a string was expected");
            return none;
        }
        uint8_t *from = in->at, *to = in->at;
        for (;;) {
            uint8_t c = stockade_byte_(in);
            if (in->error) return none;
            if (c == '"') return (stockade_slice){ from, (size_t)(to - from) };
            if (c < 0x20) stockade_refuse(in, "a string has a control character");
            else if (c != '\\') *to++ = c;
            else to = stockade_utf8_(to, stockade_escape_(in));
        }
    }
    uint64_t len = stockade_varint_(in);
    if (len > (uint64_t)(in->end - in->at)) stockade_refuse(in, "the request ends early");
    if (in->error) return none;
    stockade_slice text = { in->at, (size_t)len };
    in->at += len;
    return text;
}

/* One Unicode scalar value. */
STOCKADE_FN uint32_t stockade_get_char(stockade_in *in) {
    stockade_slice text = { in->at, 0 };
    if (in->codec == STOCKADE_JSON) {
        text = stockade_get_str(in);
    } else {
        uint8_t first = stockade_byte_(in);
        text.len = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
        if (text.len - 1 > (size_t)(in->end - in->at)) stockade_refuse(in, "the request ends early");
        else if (!in->error) in->at += text.len - 1;
    }
    size_t len = text.len;
    uint8_t first = !in->error && len ? text.ptr[0] : 0;
    size_t wanted = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (len != wanted) stockade_refuse(in, "one character was expected");
    if (in->error) return 0;
    uint32_t c = len == 1 ? first : first & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) c = c << 6 | (text.ptr[i] & 0x3f);
    return c;
}

/* A list: `for (stockade_seq seq = stockade_get_seq(in); stockade_next(in, &seq);)` reads one element each time. */
typedef struct {
    uint64_t left;
} stockade_seq;

STOCKADE_FN stockade_seq stockade_get_seq(stockade_in *in) {
    stockade_seq seq = { 0 };
    if (in->codec == STOCKADE_JSON) {
        stockade_begin_(in);
        if (!stockade_eat_(in, '[')) stockade_refuse(in, "a list was expected");
        in->comma = false;
    } else {
        seq.left = stockade_varint_(in);
    }
    return seq;
}
STOCKADE_FN bool stockade_next(stockade_in *in, stockade_seq *seq) {
    if (in->error) return false;
    if (in->codec == STOCKADE_JSON) {
        if (!stockade_eat_(in, ']')) return true;
        in->comma = true;
        return false;
    }
    return seq->left && seq->left--;
}

/* Plain bytes: what Rust has as `Bytes`, `&[u8]` or `Vec<u8>`. JSON writes them as a list of numbers. */
STOCKADE_FN stockade_slice stockade_get_bytes(stockade_in *in) {
    if (in->codec != STOCKADE_JSON) return stockade_get_str(in);
    uint8_t *from = in->at, *to = in->at;
    /* Written over what was read: a number and its comma take two bytes at least. */
    for (stockade_seq seq = stockade_get_seq(in); stockade_next(in, &seq);) {
        uint8_t byte = stockade_get_u8(in);
        if (!in->error) *to++ = byte;
    }
    return (stockade_slice){ from, in->error ? 0 : (size_t)(to - from) };
}

/* Whether there is a value; if so, it comes next. */
STOCKADE_FN bool stockade_get_option(stockade_in *in) {
    if (in->codec == STOCKADE_JSON) {
        stockade_begin_(in);
        if (in->error || stockade_eat_word_(in, "null", 4)) return false;
        in->comma = false;
        return true;
    }
    uint8_t byte = stockade_byte_(in);
    if (byte > 1) stockade_refuse(in, "an option was expected");
    return byte == 1 && !in->error;
}

/* Around the elements of a tuple. */
STOCKADE_FN void stockade_get_tuple(stockade_in *in) {
    if (in->codec == STOCKADE_JSON) stockade_get_seq(in);
}
STOCKADE_FN void stockade_get_tuple_end(stockade_in *in) {
    if (in->codec != STOCKADE_JSON) return;
    if (!stockade_eat_(in, ']')) stockade_refuse(in, "a tuple has too many elements");
    in->comma = true;
}

/* After the last argument: whether all were there, were what they should be, and were all there are. */
STOCKADE_FN bool stockade_end(stockade_in *in) {
    if (!in->ended && !in->error) {
        in->ended = true;
        if (in->codec == STOCKADE_JSON) {
            if (!stockade_eat_(in, ']')) stockade_refuse(in, "there are too many arguments");
            stockade_skip_space_(in);
        }
        if (in->at != in->end) stockade_refuse(in, "there are too many arguments");
    }
    return !in->error;
}

/* ---- The result ----------------------------------------------------------------------------------------------- */

/* The reply of one call. The fields are nobody's business. */
typedef struct {
    uint8_t *ptr;
    size_t len, room;
    uint8_t codec;
    bool comma;
    const char *error;
} stockade_out;

STOCKADE_FN void stockade_raw_(stockade_out *out, const void *bytes, size_t len) {
    if (len > out->room - out->len) {
        size_t room = (out->len + len) * 2 + 64;
        uint8_t *ptr = (uint8_t *)stockade_memory(room);
        if (out->len) memcpy(ptr, out->ptr, out->len);
        stockade_give(out->ptr);
        out->ptr = ptr;
        out->room = room;
    }
    memcpy(out->ptr + out->len, bytes, len);
    out->len += len;
}
STOCKADE_FN void stockade_raw_byte_(stockade_out *out, uint8_t byte) { stockade_raw_(out, &byte, 1); }

/* Says that there is a result, but none that can be encoded: `reason`, a string that stays. */
STOCKADE_FN void stockade_not_encodable(stockade_out *out, const char *reason) {
    if (!out->error) out->error = reason;
}

STOCKADE_FN void stockade_separate_(stockade_out *out) {
    if (out->codec == STOCKADE_JSON && out->comma) stockade_raw_byte_(out, ',');
    out->comma = true;
}

STOCKADE_FN void stockade_put_little_endian_(stockade_out *out, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) stockade_raw_byte_(out, (uint8_t)(value >> (8 * i)));
}

STOCKADE_FN void stockade_put_varint_(stockade_out *out, uint64_t value) {
    if (value < 251) {
        stockade_raw_byte_(out, (uint8_t)value);
        return;
    }
    int size = value <= UINT16_MAX ? 0 : value <= UINT32_MAX ? 1 : 2;
    stockade_raw_byte_(out, (uint8_t)(251 + size));
    stockade_put_little_endian_(out, value, 2 << size);
}

STOCKADE_FN void stockade_put_decimal_(stockade_out *out, uint64_t absolute, bool negative) {
    uint8_t text[21];
    size_t at = sizeof text;
    do text[--at] = (uint8_t)('0' + absolute % 10);
    while (absolute /= 10);
    if (negative) text[--at] = '-';
    stockade_raw_(out, text + at, sizeof text - at);
}

/* For integers of 16, 32 and 64 bits. */
STOCKADE_FN void stockade_put_u64(stockade_out *out, uint64_t value) {
    stockade_separate_(out);
    if (out->codec == STOCKADE_JSON) stockade_put_decimal_(out, value, false);
    else stockade_put_varint_(out, value);
}
STOCKADE_FN void stockade_put_i64(stockade_out *out, int64_t value) {
    stockade_separate_(out);
    uint64_t sign = 0 - ((uint64_t)value >> 63);
    if (out->codec == STOCKADE_JSON) stockade_put_decimal_(out, ((uint64_t)value ^ sign) - sign, value < 0);
    else stockade_put_varint_(out, ((uint64_t)value << 1) ^ sign);
}
STOCKADE_FN void stockade_put_u16(stockade_out *out, uint16_t value) { stockade_put_u64(out, value); }
STOCKADE_FN void stockade_put_u32(stockade_out *out, uint32_t value) { stockade_put_u64(out, value); }
STOCKADE_FN void stockade_put_i16(stockade_out *out, int16_t value) { stockade_put_i64(out, value); }
STOCKADE_FN void stockade_put_i32(stockade_out *out, int32_t value) { stockade_put_i64(out, value); }

STOCKADE_FN void stockade_put_u8(stockade_out *out, uint8_t value) {
    stockade_separate_(out);
    if (out->codec == STOCKADE_JSON) stockade_put_decimal_(out, value, false);
    else stockade_raw_byte_(out, value);
}
STOCKADE_FN void stockade_put_i8(stockade_out *out, int8_t value) {
    if (out->codec == STOCKADE_JSON) stockade_put_i64(out, value);
    else stockade_put_u8(out, (uint8_t)value);
}

STOCKADE_FN void stockade_put_bool(stockade_out *out, bool value) {
    stockade_separate_(out);
    if (out->codec != STOCKADE_JSON) stockade_raw_byte_(out, value);
    else if (value) stockade_raw_(out, "true", 4);
    else stockade_raw_(out, "false", 5);
}

/* JSON has no infinity and no NaN: there they are `null`, as serde has them. */
#ifdef STOCKADE_LIBC
STOCKADE_FN void stockade_put_json_float_(stockade_out *out, double value, int digits) {
    char text[40];
    stockade_separate_(out);
    if (value - value != 0) stockade_raw_(out, "null", 4);
    else stockade_raw_(out, text, (size_t)snprintf(text, sizeof text, "%.*g", digits, value));
}
#else
STOCKADE_FN void stockade_put_json_float_(stockade_out *out, double value, int digits) {
    const double exact = 9007199254740992.0;
    (void)digits;
    if (value >= -exact && value <= exact && value == (double)(int64_t)value) stockade_put_i64(out, (int64_t)value);
    else stockade_not_encodable(out, "this guest writes no fractions as JSON (STOCKADE_LIBC)");
}
#endif
STOCKADE_FN void stockade_put_f64(stockade_out *out, double value) {
    if (out->codec == STOCKADE_JSON) {
        stockade_put_json_float_(out, value, 17);
        return;
    }
    union { double value; uint64_t bits; } number = { value };
    stockade_put_little_endian_(out, number.bits, 8);
}
STOCKADE_FN void stockade_put_f32(stockade_out *out, float value) {
    if (out->codec == STOCKADE_JSON) {
        stockade_put_json_float_(out, value, 9);
        return;
    }
    union { float value; uint32_t bits; } number = { value };
    stockade_put_little_endian_(out, number.bits, 4);
}

/* Text, which must be UTF-8. */
STOCKADE_FN void stockade_put_str(stockade_out *out, const void *text, size_t len) {
    const uint8_t *bytes = (const uint8_t *)text;
    stockade_separate_(out);
    if (out->codec != STOCKADE_JSON) {
        stockade_put_varint_(out, len);
        stockade_raw_(out, bytes, len);
        return;
    }
    stockade_raw_byte_(out, '"');
    size_t kept = 0;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = bytes[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        stockade_raw_(out, bytes + kept, i - kept);
        kept = i + 1;
        if (c >= 0x20) {
            uint8_t escape[2] = { '\\', c };
            stockade_raw_(out, escape, sizeof escape);
        } else {
            const char *hex = "0123456789abcdef";
            uint8_t escape[6] = { '\\', 'u', '0', '0', (uint8_t)hex[c >> 4], (uint8_t)hex[c & 15] };
            stockade_raw_(out, escape, sizeof escape);
        }
    }
    stockade_raw_(out, bytes + kept, len - kept);
    stockade_raw_byte_(out, '"');
}

STOCKADE_FN void stockade_put_char(stockade_out *out, uint32_t c) {
    uint8_t text[4];
    size_t len = (size_t)(stockade_utf8_(text, c) - text);
    if (out->codec == STOCKADE_JSON) stockade_put_str(out, text, len);
    else stockade_raw_(out, text, len);
}

/* A list of so many elements, which follow, and its end. */
STOCKADE_FN void stockade_put_seq(stockade_out *out, uint64_t len) {
    stockade_separate_(out);
    if (out->codec == STOCKADE_JSON) stockade_raw_byte_(out, '[');
    else stockade_put_varint_(out, len);
    out->comma = false;
}
STOCKADE_FN void stockade_put_seq_end(stockade_out *out) {
    if (out->codec == STOCKADE_JSON) stockade_raw_byte_(out, ']');
    out->comma = true;
}

/* Around the elements of a tuple. */
STOCKADE_FN void stockade_put_tuple(stockade_out *out) {
    if (out->codec == STOCKADE_JSON) stockade_put_seq(out, 0);
}
STOCKADE_FN void stockade_put_tuple_end(stockade_out *out) { stockade_put_seq_end(out); }

STOCKADE_FN void stockade_put_bytes(stockade_out *out, const void *bytes, size_t len) {
    if (out->codec != STOCKADE_JSON) {
        stockade_put_str(out, bytes, len);
        return;
    }
    stockade_put_seq(out, len);
    for (size_t i = 0; i < len; i++) stockade_put_u8(out, ((const uint8_t *)bytes)[i]);
    stockade_put_seq_end(out);
}

/* An option without a value, and what stands before the value of one that has it. */
STOCKADE_FN void stockade_put_none(stockade_out *out) {
    stockade_separate_(out);
    if (out->codec == STOCKADE_JSON) stockade_raw_(out, "null", 4);
    else stockade_raw_byte_(out, 0);
}
STOCKADE_FN void stockade_put_some(stockade_out *out) {
    if (out->codec != STOCKADE_JSON) stockade_raw_byte_(out, 1);
}

/* A `Result`: what stands before its value or its error, and after. */
STOCKADE_FN void stockade_put_ok(stockade_out *out) {
    stockade_separate_(out);
    if (out->codec == STOCKADE_JSON) stockade_raw_(out, "{\"Ok\":", 6);
    else stockade_raw_byte_(out, 0);
    out->comma = false;
}
STOCKADE_FN void stockade_put_err(stockade_out *out) {
    stockade_separate_(out);
    if (out->codec == STOCKADE_JSON) stockade_raw_(out, "{\"Err\":", 7);
    else stockade_raw_byte_(out, 1);
    out->comma = false;
}
STOCKADE_FN void stockade_put_result_end(stockade_out *out) {
    if (out->codec == STOCKADE_JSON) stockade_raw_byte_(out, '}');
    out->comma = true;
}

/* ---- Work functions ------------------------------------------------------------------------------------------- */

STOCKADE_FN void stockade_message_(stockade_out *out, uint8_t status, const char *name, const char *reason) {
    size_t name_len = 0, reason_len = 0;
    while (name[name_len]) name_len++;
    while (reason[reason_len]) reason_len++;
    out->len = 0;
    stockade_raw_byte_(out, status);
    stockade_raw_(out, name, name_len);
    stockade_raw_(out, ": ", 2);
    stockade_raw_(out, reason, reason_len);
}

STOCKADE_FN uint64_t stockade_run_(
    const char *name, void (*work)(stockade_in *, stockade_out *), uint8_t *request, size_t len) {
    stockade_in in = { request, request + len, STOCKADE_BINCODE, false, false, NULL };
    stockade_out out = { NULL, 0, 0, STOCKADE_BINCODE, false, NULL };
    in.codec = out.codec = stockade_byte_(&in);
    stockade_raw_byte_(&out, STOCKADE_VALUE);
    if (in.codec > STOCKADE_JSON) stockade_refuse(&in, "the request is in a codec that this guest does not know");
    if (in.codec == STOCKADE_JSON && !stockade_eat_(&in, '[')) stockade_refuse(&in, "the arguments are no list");
    if (!in.error) work(&in, &out);
    stockade_end(&in);
    if (in.error) stockade_message_(&out, STOCKADE_NOT_UNDERSTOOD, name, in.error);
    else if (out.error) stockade_message_(&out, STOCKADE_NOT_ENCODABLE, name, out.error);
    else if (out.codec == STOCKADE_JSON && out.len == 1) stockade_raw_(&out, "null", 4); /* `()` */
    stockade_give(request);
    return (uint64_t)(uintptr_t)out.ptr << 32 | out.len;
}

/* Defines a function that hosts can call by its name. */
#define STOCKADE_WORK(name) \
    static void stockade_work_##name(stockade_in *in, stockade_out *out); \
    __attribute__((export_name("stockade:" #name))) uint64_t stockade_export_##name(uint8_t *request, size_t len) { \
        return stockade_run_(#name, stockade_work_##name, request, len); \
    } \
    static void stockade_work_##name(stockade_in *in, stockade_out *out)

/* ---- Metadata ------------------------------------------------------------------------------------------------- */

/* What hosts know of a function before they call it: its parameters and its result, as Rust types, and its
 * documentation. Each is a string literal with whatever JSON escapes. A host refuses calls with other types. */
#define STOCKADE_PARAM(name, type) "{\"name\":\"" name "\",\"type\":\"" type "\"}"
#define STOCKADE_DESCRIBE(name, params, returns, docs) \
    STOCKADE_DOCUMENT_("{\"abi\":1,\"functions\":[{\"name\":\"" #name "\",\"params\":[" params "],\"returns\":\"" \
        returns "\",\"docs\":\"" docs "\"}]}\n")
/* Compilers put variables into memory only; the assembler can fill a custom section. */
#define STOCKADE_DOCUMENT_(document) \
    __asm__(".section .custom_section.stockade,\"\",@\n.ascii " STOCKADE_TEXT(document) "\n.section .text,\"\",@\n");

#endif
