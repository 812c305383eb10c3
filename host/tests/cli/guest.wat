(module
  (@custom "stockade" "{\22abi\22:1,\22functions\22:[{\22name\22:\22echo\22,\22params\22:[{\22name\22:\22all\22,\22type\22:\22Json\22}],\22returns\22:\22Json\22,\22docs\22:\22Gives its arguments back\5cu001b[31m, as a list.\5cn\5cnNot \5cu202ereversed.\22}]}")
  (memory (export "memory") 1)
  (global $next (mut i32) (i32.const 1024))
  (func (export "stockade_alloc") (param $len i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $next))
    (global.set $next (i32.add (global.get $next) (local.get $len)))
    (local.get $at))
  (func (export "stockade_free") (param i32 i32))
  ;; The request is a codec byte and the arguments; the reply a status byte, 0, and the value.
  (func $echo (export "stockade:echo") (param $at i32) (param $len i32) (result i64)
    (i32.store8 (local.get $at) (i32.const 0))
    (i64.or
      (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32))
      (i64.extend_i32_u (local.get $len))))
  ;; The same, and the module does not say what it takes.
  (export "stockade:any" (func $echo))
  (func (export "add") (param i32 i32) (result i32)
    (i32.add (local.get 0) (local.get 1)))
  (func (export "half") (param f64) (result f64)
    (f64.div (local.get 0) (f64.const 2)))
  (func (export "spin")
    (loop $again (br $again))))
