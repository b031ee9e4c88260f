;; life - Conway's Life on a torus of 512 x 512 cells, a byte each. All state lies in memory, so that a copy of
;; memory is a copy of the instance.
;;
;;   0x00000  the number of the generation
;;   0x10000  the board of even generations
;;   0x50000  the board of odd ones
(module
  (memory (export "memory") 9)

  ;; Where the board of this generation lies.
  (func $board (export "board") (param $generation i32) (result i32)
    (i32.add
      (i32.const 0x10000)
      (i32.shl (i32.and (local.get $generation) (i32.const 1)) (i32.const 18))))

  ;; Address of the row dy below row y, the last being above the first.
  (func $row (param $board i32) (param $y i32) (param $dy i32) (result i32)
    (i32.add
      (local.get $board)
      (i32.shl
        (i32.and (i32.add (local.get $y) (local.get $dy)) (i32.const 511))
        (i32.const 9))))

  ;; Living cells among three of a row: x and its neighbours.
  (func $three (param $row i32) (param $x i32) (result i32)
    (i32.add
      (i32.load8_u (i32.add (local.get $row) (local.get $x)))
      (i32.add
        (i32.load8_u
          (i32.add (local.get $row)
            (i32.and (i32.sub (local.get $x) (i32.const 1)) (i32.const 511))))
        (i32.load8_u
          (i32.add (local.get $row)
            (i32.and (i32.add (local.get $x) (i32.const 1)) (i32.const 511)))))))

  ;; Computes the next generation.
  (func (export "step")
    (local $generation i32) (local $from i32) (local $to i32) (local $x i32) (local $y i32)
    (local $above i32) (local $here i32) (local $below i32) (local $alive i32)
    (local.set $generation (i32.load (i32.const 0)))
    (local.set $from (call $board (local.get $generation)))
    (local.set $generation (i32.add (local.get $generation) (i32.const 1)))
    (local.set $to (call $board (local.get $generation)))
    (loop $rows
      (local.set $above (call $row (local.get $from) (local.get $y) (i32.const -1)))
      (local.set $here (call $row (local.get $from) (local.get $y) (i32.const 0)))
      (local.set $below (call $row (local.get $from) (local.get $y) (i32.const 1)))
      (local.set $x (i32.const 0))
      (loop $cells
        (local.set $alive (i32.load8_u (i32.add (local.get $here) (local.get $x))))
        ;; Alive: with three living neighbours, or two and itself.
        (i32.store8
          (i32.add (call $row (local.get $to) (local.get $y) (i32.const 0)) (local.get $x))
          (i32.eq
            (i32.const 3)
            (i32.or
              (local.get $alive)
              (i32.sub
                (i32.add
                  (call $three (local.get $above) (local.get $x))
                  (i32.add
                    (call $three (local.get $here) (local.get $x))
                    (call $three (local.get $below) (local.get $x))))
                (local.get $alive)))))
        (local.set $x (i32.add (local.get $x) (i32.const 1)))
        (br_if $cells (i32.lt_u (local.get $x) (i32.const 512))))
      (local.set $y (i32.add (local.get $y) (i32.const 1)))
      (br_if $rows (i32.lt_u (local.get $y) (i32.const 512))))
    (i32.store (i32.const 0) (local.get $generation))))
