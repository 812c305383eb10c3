/* Each type that the header knows, there and back, without a C library. */
#include "stockade.h"

#define ECHO(name, c_type, rust_type) \
    STOCKADE_DESCRIBE(name, STOCKADE_PARAM("value", rust_type), rust_type, "The same value.") \
    STOCKADE_WORK(name) { \
        c_type value = stockade_get_##name(in); \
        if (stockade_end(in)) stockade_put_##name(out, value); \
    }

ECHO(u8, uint8_t, "u8")
ECHO(u16, uint16_t, "u16")
ECHO(u32, uint32_t, "u32")
ECHO(u64, uint64_t, "u64")
ECHO(i8, int8_t, "i8")
ECHO(i16, int16_t, "i16")
ECHO(i32, int32_t, "i32")
ECHO(i64, int64_t, "i64")
ECHO(f32, float, "f32")
ECHO(f64, double, "f64")
ECHO(char, uint32_t, "char")

/* `bool` is a macro of stdbool.h, so no name. */
STOCKADE_DESCRIBE(boolean, STOCKADE_PARAM("value", "bool"), "bool", "The same value.")
STOCKADE_WORK(boolean) {
    bool value = stockade_get_bool(in);
    if (stockade_end(in)) stockade_put_bool(out, value);
}

STOCKADE_DESCRIBE(str, STOCKADE_PARAM("value", "&str"), "String", "The same text.")
STOCKADE_WORK(str) {
    stockade_slice text = stockade_get_str(in);
    if (stockade_end(in)) stockade_put_str(out, text.ptr, text.len);
}

STOCKADE_DESCRIBE(bytes, STOCKADE_PARAM("value", "&[u8]"), "Bytes", "The same bytes.")
STOCKADE_WORK(bytes) {
    stockade_slice bytes = stockade_get_bytes(in);
    if (stockade_end(in)) stockade_put_bytes(out, bytes.ptr, bytes.len);
}

STOCKADE_DESCRIBE(option, STOCKADE_PARAM("value", "Option<u32>"), "Option<u32>", "The same option.")
STOCKADE_WORK(option) {
    bool is_some = stockade_get_option(in);
    uint32_t value = is_some ? stockade_get_u32(in) : 0;
    if (!stockade_end(in)) return;
    if (is_some) {
        stockade_put_some(out);
        stockade_put_u32(out, value);
    } else {
        stockade_put_none(out);
    }
}

STOCKADE_DESCRIBE(tuple, STOCKADE_PARAM("value", "(u8, String)"), "(u8, String)", "The same tuple.")
STOCKADE_WORK(tuple) {
    stockade_get_tuple(in);
    uint8_t number = stockade_get_u8(in);
    stockade_slice text = stockade_get_str(in);
    stockade_get_tuple_end(in);
    if (!stockade_end(in)) return;
    stockade_put_tuple(out);
    stockade_put_u8(out, number);
    stockade_put_str(out, text.ptr, text.len);
    stockade_put_tuple_end(out);
}

STOCKADE_DESCRIBE(list, STOCKADE_PARAM("value", "Vec<(i16, Vec<bool>)>"), "Vec<(i16, Vec<bool>)>", "The same list.")
STOCKADE_WORK(list) {
    /* In one go: the elements are written as they are read, into a place of their own. */
    struct { int16_t number; uint8_t flags[16]; uint8_t count; } items[64];
    uint32_t count = 0;
    for (stockade_seq seq = stockade_get_seq(in); stockade_next(in, &seq); count++) {
        if (count == 64) {
            stockade_refuse(in, "more than 64 elements");
            return;
        }
        stockade_get_tuple(in);
        items[count].number = stockade_get_i16(in);
        items[count].count = 0;
        for (stockade_seq flags = stockade_get_seq(in); stockade_next(in, &flags);) {
            if (items[count].count == 16) {
                stockade_refuse(in, "more than 16 flags");
                return;
            }
            items[count].flags[items[count].count++] = stockade_get_bool(in);
        }
        stockade_get_tuple_end(in);
    }
    if (!stockade_end(in)) return;
    stockade_put_seq(out, count);
    for (uint32_t i = 0; i < count; i++) {
        stockade_put_tuple(out);
        stockade_put_i16(out, items[i].number);
        stockade_put_seq(out, items[i].count);
        for (uint32_t j = 0; j < items[i].count; j++) stockade_put_bool(out, items[i].flags[j]);
        stockade_put_seq_end(out);
        stockade_put_tuple_end(out);
    }
    stockade_put_seq_end(out);
}

STOCKADE_DESCRIBE(unit, "", "()", "Nothing, of nothing.")
STOCKADE_WORK(unit) {
    stockade_end(in);
    (void)out;
}

STOCKADE_DESCRIBE(unencodable, "", "u32", "A result that cannot be encoded.")
STOCKADE_WORK(unencodable) {
    if (stockade_end(in)) stockade_not_encodable(out, "this result refuses to be encoded");
}
