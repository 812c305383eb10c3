//! Replies that break the ABI, by exports written by hand. A host must refuse each and stay
//! unharmed.

/// Exports `stockade:NAME`, which ignores its request, and describes it as a function without
/// arguments.
macro_rules! hostile {
    ($($name:literal -> $returns:literal, $docs:literal => $reply:expr;)*) => {
        $(
            const _: () = {
                // SAFETY: no other export has the name.
                #[unsafe(export_name = concat!("stockade:", $name))]
                extern "C" fn reply(_ptr: *mut u8, _len: usize) -> u64 {
                    $reply
                }

                const DOCUMENT: &str = concat!(
                    r#"{"abi":1,"functions":[{"name":""#, $name, r#"","params":[],"returns":""#,
                    $returns, r#"","docs":""#, $docs, "\"}]}\n",
                );

                // SAFETY: the section holds text.
                #[unsafe(link_section = "stockade")]
                #[used]
                static METADATA: [u8; DOCUMENT.len()] =
                    *DOCUMENT.as_bytes().as_array().expect("its own length");
            };
        )*
    };
}

/// 2^40 and 2^63 in bincode's variable length: a marker for eight bytes, then the number.
const TWO_TO_40: [u8; 10] = [0, 253, 0, 0, 0, 0, 0, 1, 0, 0];
const TWO_TO_63: [u8; 10] = [0, 253, 0, 0, 0, 0, 0, 0, 0, 0x80];

hostile! {
    "reply_outside_memory" -> "u32", "A reply behind the end of memory." =>
        abi(0xffff_0000, 16);
    "reply_wrapping" -> "u32", "A reply whose end wraps around." =>
        abi(0xffff_fff0, 0x20);
    "reply_of_all_memory" -> "Bytes", "A reply of almost 4 GiB." =>
        abi(1, u32::MAX);
    "reply_empty" -> "u32", "A reply of no bytes at an address." =>
        abi(1024, 0);
    "reply_zero" -> "u32", "No address and no bytes." =>
        abi(0, 0);
    "reply_status_nine" -> "u32", "A reply with a status that does not exist." =>
        send(&[9, 1]);
    "reply_without_value" -> "u32", "A status alone, where a value should follow." =>
        send(&[0]);
    "reply_with_trailing_bytes" -> "u32", "A value and more." =>
        send(&[0, 1, 2, 3]);
    "reply_message_not_utf8" -> "u32", "A message that is not UTF-8." =>
        send(&[1, b'a', 0xff, 0xfe]);
    "reply_garbage" -> "String", "A text that is no value in either codec." =>
        send(b"\0\xfe{this is not JSON");
    "reply_string_40" -> "String", "A string of 2^40 bytes, none of them there." =>
        send(&TWO_TO_40);
    "reply_string_63" -> "String", "A string of 2^63 bytes, none of them there." =>
        send(&TWO_TO_63);
    "reply_vec_40" -> "Vec<u64>", "A vector of 2^40 numbers, none of them there." =>
        send(&TWO_TO_40);
    "reply_vec_63" -> "Vec<u64>", "A vector of 2^63 numbers, none of them there." =>
        send(&TWO_TO_63);
    "reply_bytes_40" -> "Bytes", "2^40 bytes, none of them there." =>
        send(&TWO_TO_40);
    "reply_bytes_63" -> "Bytes", "2^63 bytes, none of them there." =>
        send(&TWO_TO_63);
    "reply_units_40" -> "Vec<()>", "A vector of 2^40 units, which take no bytes." =>
        send(&TWO_TO_40);
}

const fn abi(ptr: u32, len: u32) -> u64 {
    (ptr as u64) << 32 | len as u64
}

/// A reply that the host may free.
fn send(reply: &[u8]) -> u64 {
    let reply = Box::leak(Box::<[u8]>::from(reply));
    (reply.as_ptr().addr() as u64) << 32 | reply.len() as u64
}
