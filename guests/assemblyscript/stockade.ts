// The guest ABI, version 1 (docs/abi.md), for AssemblyScript: requests, replies and panics.

// @ts-ignore: decorator
@external("stockade", "panic")
declare function panic(ptr: usize, len: usize): void;

/** Takes the place of AssemblyScript's own `abort`, which a host does not offer. */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  const what = message ? message : "aborted";
  const where = file ? file : "";
  const report = String.UTF8.encode(`${what}\0${where}:${line}:${column}`);
  panic(changetype<usize>(report), report.byteLength);
  unreachable();
}

export function stockade_alloc(len: usize): usize {
  return heap.alloc(len);
}

export function stockade_free(ptr: usize, len: usize): void {
  heap.free(ptr);
}

/**
 * One call: its arguments, read from left to right, and its reply, written likewise, in the codec of the request. An
 * argument that is not what was asked for makes the call an error that stays.
 */
export class Call {
  private name: string;
  private start: usize;
  private at: usize;
  private stop: usize;
  private json: bool = false;
  private comma: bool = false;
  private error: string = "";
  private reply: Array<u8> = [0];
  private separated: bool = false;

  constructor(name: string, ptr: usize, len: usize) {
    this.name = name;
    this.start = ptr;
    this.at = ptr;
    this.stop = ptr + len;
    const codec = this.byte();
    if (codec > 1) this.refuse("the request is in a codec that this guest does not know");
    this.json = codec == 1;
    if (this.json && !this.eat(0x5b)) this.refuse("the arguments are no list");
  }

  refuse(reason: string): void {
    if (!this.error.length) this.error = reason;
  }

  // ---- Arguments

  private byte(): u8 {
    if (this.error.length) return 0;
    if (this.at == this.stop) {
      this.refuse("the request ends early");
      return 0;
    }
    return load<u8>(this.at++);
  }

  private peek(): i32 {
    return this.error.length || this.at == this.stop ? -1 : <i32>load<u8>(this.at);
  }

  private space(): void {
    for (let c = this.peek(); c == 32 || c == 10 || c == 9 || c == 13; c = this.peek()) this.at++;
  }

  private eat(wanted: i32): bool {
    this.space();
    if (this.peek() != wanted) return false;
    this.at++;
    return true;
  }

  private begin(): void {
    if (this.comma && !this.eat(0x2c)) this.refuse("an argument or an element is missing");
    this.comma = true;
    this.space();
  }

  private littleEndian(bytes: i32): u64 {
    let value: u64 = 0;
    for (let i = 0; i < bytes; i++) value |= (<u64>this.byte()) << (8 * i);
    return value;
  }

  private varint(): u64 {
    const first = this.byte();
    if (first < 251) return first;
    if (first > 253) {
      this.refuse("an integer has more than 64 bits");
      return 0;
    }
    return this.littleEndian(2 << (first - 251));
  }

  /** A number of JSON, as it is written. */
  private digits(): string {
    this.begin();
    const from = this.at;
    for (let c = this.peek(); (c >= 0x30 && c <= 0x39) || c == 0x2d || c == 0x2b || c == 0x2e || c == 0x45 || c == 0x65; c = this.peek()) {
      this.at++;
    }
    if (from == this.at) this.refuse("a number was expected");
    return String.UTF8.decodeUnsafe(from, this.at - from);
  }

  u32(): u32 {
    let value: u64 = 0;
    if (this.json) {
      const digits = this.digits();
      for (let i = 0; i < digits.length; i++) {
        const digit = digits.charCodeAt(i) - 0x30;
        if (digit < 0 || digit > 9 || value > u32.MAX_VALUE) {
          this.refuse("an integer of 32 bits was expected");
          return 0;
        }
        value = value * 10 + digit;
      }
    } else {
      value = this.varint();
    }
    if (value > u32.MAX_VALUE) this.refuse("an integer of 32 bits was expected");
    return this.error.length ? 0 : <u32>value;
  }

  f64(): f64 {
    if (!this.json) return reinterpret<f64>(this.littleEndian(8));
    const value = parseFloat(this.digits());
    if (isNaN(value)) this.refuse("a number was expected");
    return value;
  }

  text(): string {
    if (!this.json) {
      const len = this.varint();
      if (len > <u64>(this.stop - this.at)) this.refuse("the request ends early");
      if (this.error.length) return "";
      const from = this.at;
      this.at += <usize>len;
      return String.UTF8.decodeUnsafe(from, <usize>len);
    }
    this.begin();
    if (!this.eat(0x22)) this.refuse("a string was expected");
    let text = "";
    let from = this.at;
    while (!this.error.length) {
      const c = this.byte();
      if (c != 0x22 && c != 0x5c) continue;
      text += String.UTF8.decodeUnsafe(from, this.at - 1 - from);
      if (c == 0x22) return text;
      text += String.fromCharCode(this.escape());
      from = this.at;
    }
    return "";
  }

  /** One unit of UTF-16: a pair of them is two escapes, as in JSON. */
  private escape(): i32 {
    const c = this.byte();
    switch (c) {
      case 0x62: return 8;
      case 0x66: return 12;
      case 0x6e: return 10;
      case 0x72: return 13;
      case 0x74: return 9;
      case 0x22: case 0x5c: case 0x2f: return c;
    }
    let unit = 0;
    for (let i = 0; i < 4 && c == 0x75; i++) {
      const hex = <i32>this.byte();
      const low = hex | 0x20;
      if (hex >= 0x30 && hex <= 0x39) unit = (unit << 4) | (hex - 0x30);
      else if (low >= 0x61 && low <= 0x66) unit = (unit << 4) | (low - 0x61 + 10);
      else this.refuse("a string has a bad escape");
    }
    if (c != 0x75) this.refuse("a string has a bad escape");
    return unit;
  }

  /** Reads a list: how many elements there are in bincode, which JSON does not say. `more` tells. */
  list(): u64 {
    if (!this.json) return this.varint();
    this.begin();
    if (!this.eat(0x5b)) this.refuse("a list was expected");
    this.comma = false;
    return 0;
  }

  /** Whether another element follows, after so many of `list()`. */
  more(read: u64, listed: u64): bool {
    if (this.error.length) return false;
    if (!this.json) return read < listed;
    if (!this.eat(0x5d)) return true;
    this.comma = true;
    return false;
  }

  /** After the last argument: whether all were there and were what they should be, and there are no more. */
  end(): bool {
    if (this.json && !this.eat(0x5d)) this.refuse("there are too many arguments");
    if (this.json) this.space();
    if (this.at != this.stop) this.refuse("there are too many arguments");
    return !this.error.length;
  }

  // ---- The result

  private put(byte: i32): void {
    this.reply.push(<u8>byte);
  }

  private putUtf8(text: string): void {
    const bytes = Uint8Array.wrap(String.UTF8.encode(text));
    for (let i = 0; i < bytes.length; i++) this.put(bytes[i]);
  }

  private separate(): void {
    if (this.json && this.separated) this.put(0x2c);
    this.separated = true;
  }

  private putVarint(value: u64): void {
    if (value < 251) {
      this.put(<i32>value);
      return;
    }
    const size = value <= u16.MAX_VALUE ? 0 : value <= u32.MAX_VALUE ? 1 : 2;
    this.put(251 + size);
    for (let i = 0; i < 2 << size; i++) this.put(<i32>(value >> (8 * i)));
  }

  /** An unsigned integer of 16, 32 or 64 bits. */
  putU64(value: u64): void {
    this.separate();
    if (this.json) this.putUtf8(value.toString());
    else this.putVarint(value);
  }

  putF64(value: f64): void {
    this.separate();
    if (this.json) {
      this.putUtf8(isFinite(value) ? value.toString() : "null");
      return;
    }
    const bits = reinterpret<u64>(value);
    for (let i = 0; i < 8; i++) this.put(<i32>(bits >> (8 * i)));
  }

  putText(text: string): void {
    this.separate();
    if (!this.json) {
      this.putVarint(String.UTF8.byteLength(text));
      this.putUtf8(text);
      return;
    }
    let escaped = "\"";
    for (let i = 0; i < text.length; i++) {
      const c = text.charCodeAt(i);
      if (c < 0x20) escaped += "\\u" + c.toString(16).padStart(4, "0");
      else if (c == 0x22 || c == 0x5c) escaped += "\\" + String.fromCharCode(c);
      else escaped += String.fromCharCode(c);
    }
    this.putUtf8(escaped + "\"");
  }

  putList(len: u64): void {
    this.separate();
    if (this.json) this.put(0x5b);
    else this.putVarint(len);
    this.separated = false;
  }

  putListEnd(): void {
    if (this.json) this.put(0x5d);
    this.separated = true;
  }

  /** Gives the request back, and the reply to the host. */
  finish(): u64 {
    heap.free(this.start);
    if (this.error.length) {
      this.reply = [1];
      this.putUtf8(this.name + ": " + this.error);
    } else if (this.json && this.reply.length == 1) {
      this.putUtf8("null");
    }
    // Out of the collector's reach: the host frees it.
    const len = this.reply.length;
    const ptr = heap.alloc(len);
    memory.copy(ptr, this.reply.dataStart, len);
    return ((<u64>ptr) << 32) | len;
  }
}
