;; What hosts and guests say to each other, byte by byte: for whoever writes an encoder or a decoder.
;;
;; `request` replies with the request as it arrived, codec byte included, as `Bytes`; `reply` takes `Bytes` and replies
;; with exactly these, status byte included. Both speak bincode only, and say so.
(module
  (import "stockade" "panic" (func $panic (param $ptr i32) (param $len i32)))

  (@custom "stockade" "{\22abi\22:1,\22functions\22:[{\22name\22:\22reply\22,\22params\22:[{\22name\22:\22bytes\22,\22type\22:\22Bytes\22}],\22returns\22:\22Anything\22,\22docs\22:\22Replies with exactly these bytes: a status and what follows it.\22}]}")
  ;; `request` takes anything, so nothing is said of it.

  (memory (export "memory") 1)
  (data (i32.const 16) "\01this guest speaks bincode only")
  (data (i32.const 64) "no memory is left\00mirror.wat")

  ;; Where the next block begins. What lies below is constant.
  (global $next (mut i32) (i32.const 1024))

  ;; Memory is taken upwards and given back all at once: when the host has read the reply, nothing is in use.
  (func $alloc (export "stockade_alloc") (param $len i32) (result i32)
    (local $at i32) (local $end i64) (local $have i64)
    (local.set $at (global.get $next))
    (local.set $end
      (i64.add (i64.extend_i32_u (local.get $at)) (i64.extend_i32_u (local.get $len))))
    (local.set $have (i64.shl (i64.extend_i32_u (memory.size)) (i64.const 16)))
    (if (i64.gt_u (local.get $end) (i64.const 0xffff0000)) (then (return (i32.const 0))))
    (if (i64.gt_u (local.get $end) (local.get $have))
      (then
        (if (i32.eq (i32.const -1)
              (memory.grow
                (i32.wrap_i64
                  (i64.shr_u
                    (i64.add (i64.sub (local.get $end) (local.get $have)) (i64.const 0xffff))
                    (i64.const 16)))))
          (then (return (i32.const 0))))))
    (global.set $next (i32.wrap_i64 (local.get $end)))
    (local.get $at))

  (func (export "stockade_free") (param $ptr i32) (param $len i32)
    (global.set $next (i32.const 1024)))

  ;; Memory for a reply, or the end of the call.
  (func $room (param $len i32) (result i32)
    (local $at i32)
    (local.set $at (call $alloc (local.get $len)))
    (if (i32.eqz (local.get $at))
      (then
        (call $panic (i32.const 64) (i32.const 28))
        (unreachable)))
    (local.get $at))

  ;; The two halves of a work function's result.
  (func $packed (param $ptr i32) (param $len i32) (result i64)
    (i64.or
      (i64.shl (i64.extend_i32_u (local.get $ptr)) (i64.const 32))
      (i64.extend_i32_u (local.get $len))))

  (func (export "stockade:request") (param $ptr i32) (param $len i32) (result i64)
    (local $reply i32) (local $at i32)
    (if (i32.load8_u (local.get $ptr))
      (then (return (call $packed (i32.const 16) (i32.const 31)))))
    ;; A status, at most five bytes of length, and the bytes.
    (local.set $reply (call $room (i32.add (local.get $len) (i32.const 6))))
    (i32.store8 (local.get $reply) (i32.const 0))
    (local.set $at (i32.add (local.get $reply) (i32.const 1)))
    (if (i32.lt_u (local.get $len) (i32.const 251))
      (then
        (i32.store8 (local.get $at) (local.get $len))
        (local.set $at (i32.add (local.get $at) (i32.const 1))))
      (else
        (if (i32.lt_u (local.get $len) (i32.const 65536))
          (then
            (i32.store8 (local.get $at) (i32.const 251))
            (i32.store16 offset=1 (local.get $at) (local.get $len))
            (local.set $at (i32.add (local.get $at) (i32.const 3))))
          (else
            (i32.store8 (local.get $at) (i32.const 252))
            (i32.store offset=1 (local.get $at) (local.get $len))
            (local.set $at (i32.add (local.get $at) (i32.const 5)))))))
    (memory.copy (local.get $at) (local.get $ptr) (local.get $len))
    (call $packed
      (local.get $reply)
      (i32.sub (i32.add (local.get $at) (local.get $len)) (local.get $reply))))

  (func (export "stockade:reply") (param $ptr i32) (param $len i32) (result i64)
    (local $skip i32)
    (if (i32.load8_u (local.get $ptr))
      (then (return (call $packed (i32.const 16) (i32.const 31)))))
    ;; The codec, and the length of the bytes, which are all the rest of a request.
    (local.set $skip (i32.const 2))
    (if (i32.eq (i32.load8_u offset=1 (local.get $ptr)) (i32.const 251))
      (then (local.set $skip (i32.const 4))))
    (if (i32.eq (i32.load8_u offset=1 (local.get $ptr)) (i32.const 252))
      (then (local.set $skip (i32.const 6))))
    ;; A reply may lie anywhere in memory, so in the request, too.
    (call $packed
      (i32.add (local.get $ptr) (local.get $skip))
      (i32.sub (local.get $len) (local.get $skip)))))
