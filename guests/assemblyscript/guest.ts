// A guest in AssemblyScript. Exports cannot be named with a colon here: exports.mjs renames `work_…` to `stockade:…` and
// adds what functions.json says of them.

import { Call } from "./stockade";
export { stockade_alloc, stockade_free } from "./stockade";

let calls: u32 = 0;

export function work_shout(ptr: usize, len: usize): u64 {
  const call = new Call("shout", ptr, len);
  const text = call.text();
  const times = call.u32();
  if (call.end()) call.putText(text.toUpperCase() + "!".repeat(times));
  return call.finish();
}

export function work_split(ptr: usize, len: usize): u64 {
  const call = new Call("split", ptr, len);
  const text = call.text();
  const separator = call.text();
  if (call.end()) {
    const parts = text.split(separator);
    call.putList(parts.length);
    for (let i = 0; i < parts.length; i++) call.putText(parts[i]);
    call.putListEnd();
  }
  return call.finish();
}

export function work_mean(ptr: usize, len: usize): u64 {
  const call = new Call("mean", ptr, len);
  const listed = call.list();
  let sum = 0.0;
  let read: u64 = 0;
  for (; call.more(read, listed); read++) sum += call.f64();
  if (call.end()) {
    // `assert` ends the call with a panic.
    assert(read > 0, "nothing has no mean");
    call.putF64(sum / <f64>read);
  }
  return call.finish();
}

export function work_count(ptr: usize, len: usize): u64 {
  const call = new Call("count", ptr, len);
  if (call.end()) call.putU64(++calls);
  return call.finish();
}

/** A plain numeric export needs nothing of all this. */
export function add(a: i32, b: i32): i32 {
  return a + b;
}
