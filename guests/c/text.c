/* Work on text and numbers, with a C library. */
#define STOCKADE_LIBC
#include "stockade.h"

/* ---- The most frequent words ---------------------------------------------------------------------------------- */

struct word {
    stockade_slice text;
    uint32_t count;
};

static bool is_letter(uint8_t c) {
    /* Every character beyond ASCII counts as one. */
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

static int by_text(const void *left, const void *right) {
    const struct word *a = left, *b = right;
    size_t common = a->text.len < b->text.len ? a->text.len : b->text.len;
    int order = memcmp(a->text.ptr, b->text.ptr, common);
    return order ? order : (a->text.len > b->text.len) - (a->text.len < b->text.len);
}

static int by_count(const void *left, const void *right) {
    const struct word *a = left, *b = right;
    return a->count != b->count ? (a->count < b->count) - (a->count > b->count) : by_text(left, right);
}

STOCKADE_DESCRIBE(top_words, STOCKADE_PARAM("text", "&str") "," STOCKADE_PARAM("most", "u32"), "Vec<(String, u32)>",
    "The most frequent words of `text` and how often each occurs, at most so many.")
STOCKADE_WORK(top_words) {
    stockade_slice text = stockade_get_str(in);
    uint32_t most = stockade_get_u32(in);
    if (!stockade_end(in)) return;

    /* A word and what separates it from the next take two bytes. */
    struct word *words = stockade_memory((text.len / 2 + 1) * sizeof *words);
    size_t found = 0;
    for (size_t at = 0; at < text.len;) {
        size_t end = at;
        while (end < text.len && is_letter(text.ptr[end])) end++;
        if (end > at) words[found++] = (struct word){ { text.ptr + at, end - at }, 1 };
        at = end + 1;
    }
    qsort(words, found, sizeof *words, by_text);
    size_t different = 0;
    for (size_t i = 0; i < found; i++) {
        if (different && by_text(&words[different - 1], &words[i]) == 0) words[different - 1].count++;
        else words[different++] = words[i];
    }
    qsort(words, different, sizeof *words, by_count);
    if (different > most) different = most;

    stockade_put_seq(out, different);
    for (size_t i = 0; i < different; i++) {
        stockade_put_tuple(out);
        stockade_put_str(out, words[i].text.ptr, words[i].text.len);
        stockade_put_u32(out, words[i].count);
        stockade_put_tuple_end(out);
    }
    stockade_put_seq_end(out);
    free(words);
}

/* ---- Numbers -------------------------------------------------------------------------------------------------- */

STOCKADE_DESCRIBE(mean, STOCKADE_PARAM("numbers", "Vec<f64>"), "Option<f64>", "Their mean, if there are any.")
STOCKADE_WORK(mean) {
    double sum = 0;
    uint32_t count = 0;
    for (stockade_seq seq = stockade_get_seq(in); stockade_next(in, &seq); count++) sum += stockade_get_f64(in);
    if (!stockade_end(in)) return;
    if (count == 0) {
        stockade_put_none(out);
        return;
    }
    stockade_put_some(out);
    stockade_put_f64(out, sum / count);
}

STOCKADE_DESCRIBE(divide, STOCKADE_PARAM("dividend", "i64") "," STOCKADE_PARAM("divisor", "i64"), "Result<i64, String>",
    "The quotient, or why there is none.")
STOCKADE_WORK(divide) {
    int64_t dividend = stockade_get_i64(in), divisor = stockade_get_i64(in);
    if (!stockade_end(in)) return;
    if (divisor == 0) {
        static const char reason[] = "nothing can be divided by 0";
        stockade_put_err(out);
        stockade_put_str(out, reason, sizeof reason - 1);
    } else if (dividend == INT64_MIN && divisor == -1) {
        STOCKADE_PANIC("the quotient has more than 64 bits");
    } else {
        stockade_put_ok(out);
        stockade_put_i64(out, dividend / divisor);
    }
    stockade_put_result_end(out);
}

/* ---- State ---------------------------------------------------------------------------------------------------- */

static uint32_t constructed, calls;

__attribute__((constructor)) static void construct(void) { constructed++; }

STOCKADE_DESCRIBE(count, "", "(u32, u32)",
    "How often static constructors ran, and how many calls of this function the instance has seen.")
STOCKADE_WORK(count) {
    if (!stockade_end(in)) return;
    stockade_put_tuple(out);
    stockade_put_u32(out, constructed);
    stockade_put_u32(out, ++calls);
    stockade_put_tuple_end(out);
}
