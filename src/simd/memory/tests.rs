//! Views address the same elements as a loop over all axes, and copies are rounded once.

use super::{Outer, Rows, RowsMut, Storage};
use fearless_simd::Fallback;

/// Length and byte stride.
type Axis = (usize, isize);

/// The offsets of all rows, axis by axis.
fn offsets(axes: &[Axis]) -> Vec<isize> {
    axes.iter().fold(vec![0], |outer, (len, stride)| {
        let inner = (0..len.cast_signed()).map(move |i| i * stride);
        outer.iter().flat_map(|start| inner.clone().map(move |offset| start + offset)).collect()
    })
}

#[test]
fn axes_are_merged_where_they_step_like_one() {
    let lines: [(&[Axis], Axis); 9] = [
        (&[], (1, 0)),
        (&[(1, 99)], (1, 0)),
        (&[(5, 8)], (5, 8)),
        (&[(3, 40), (5, 8)], (15, 8)),
        (&[(2, 120), (3, 40), (5, 8)], (30, 8)),
        (&[(2, 120), (1, -3), (3, 40)], (6, 40)),
        (&[(3, -40), (5, -8)], (15, -8)),
        (&[(3, 0), (5, 0)], (15, 0)),
        (&[(0, 8)], (0, 8)),
    ];
    for (axes, (len, stride)) in lines {
        let outer = Outer::new(axes.iter().copied());
        let line = (outer.rows(), outer.step());
        assert_eq!(line, (len, Some(stride)), "{axes:?} became {outer:?}");
    }
    // Transposed, reversed, repeated and padded axes are not merged.
    for axes in [[(5, 8), (3, 40)], [(3, 40), (5, -8)], [(3, 0), (5, 8)], [(3, 48), (5, 8)]] {
        let outer = Outer::new(axes.into_iter());
        assert!((outer.step(), outer.inner()) == (None, axes[1]), "{axes:?} became {outer:?}");
        assert_eq!((outer.rows(), outer.offset(axes[1].0)), (axes[0].0 * axes[1].0, axes[0].1));
    }
}

#[test]
fn rows_lie_where_the_axes_say() {
    let strides = [-120, -8, 0, 8, 24, 40, 120];
    for lens in [[2, 3, 5], [1, 3, 5], [2, 1, 1], [2, 0, 5]] {
        for outer_stride in strides {
            for middle_stride in strides {
                for inner_stride in strides {
                    let axes = [
                        (lens[0], outer_stride),
                        (lens[1], middle_stride),
                        (lens[2], inner_stride),
                    ];
                    let outer = Outer::new(axes.into_iter());
                    let found: Vec<isize> =
                        (0..outer.rows()).map(|row| outer.offset(row)).collect();
                    assert_eq!(found, offsets(&axes), "{axes:?}");
                }
            }
        }
    }
}

/// Each row is the row of `own` at its place, and the places are in the order of their first rows.
#[test]
fn repetitions_are_left_out() {
    for lens in [[2, 3, 5], [1, 3, 5], [2, 1, 1], [4, 2, 2]] {
        for zeros in 0..8 {
            let axis =
                |axis: usize, stride| (lens[axis], if zeros >> axis & 1 == 1 { 0 } else { stride });
            let outer = Outer::new([axis(0, -120), axis(1, 40), axis(2, 8)].into_iter());
            let (own, places) = outer.distinct();
            let mut seen = 0;
            for row in 0..outer.rows() {
                let place = places.offset(row).cast_unsigned();
                assert_eq!(own.offset(place), outer.offset(row), "row {row} of {outer:?}");
                assert!(place <= seen, "row {row} of {outer:?}");
                seen = seen.max(place + 1);
            }
            assert_eq!(seen, own.rows(), "{outer:?}");
        }
    }
}

/// 24 elements, misaligned by one byte.
fn strided_bytes<const SIZE: usize>(element: impl Fn(usize) -> [u8; SIZE]) -> Vec<u8> {
    std::iter::once(0xAA).chain((0..24).flat_map(element)).collect()
}

/// Start and axes of 2 rows, 12 elements apart, with 4 classes each, 3 elements apart, backwards from element 9.
fn strided_view(size: usize) -> (usize, Axis, [Axis; 1]) {
    let size_signed = size.cast_signed();
    (1 + 9 * size, (4, -3 * size_signed), [(2, 12 * size_signed)])
}

#[test]
fn strided_rows_are_gathered() {
    let f32s = strided_bytes(|i| (f32::from(u8::try_from(i).unwrap()) + 0.5).to_ne_bytes());
    let f64s = strided_bytes(|i| (f64::from(u8::try_from(i).unwrap()) + 0.1).to_ne_bytes());
    for (storage, bytes, part) in [(Storage::F32, &f32s, 0.5), (Storage::F64, &f64s, 0.1)] {
        let (start, class_axis, axes) = strided_view(storage.size());
        // SAFETY: elements 0 to 21 of the 24 in `bytes`.
        let rows = unsafe {
            Rows::from_raw(bytes.as_ptr().add(start), storage, class_axis, axes.into_iter())
        };
        for row in 0..2 {
            let wanted = [9.0, 6.0, 3.0, 0.0].map(|i: f64| i + 12.0 * f64::from(row) + part);
            let row = usize::try_from(row).unwrap();
            let mut doubles = [0f64; 4];
            rows.gather_from(row, 0, &mut doubles);
            assert_eq!(doubles, wanted, "{storage:?}");
            let mut singles = [0f32; 4];
            assert!(rows.direct::<f32>(row).is_none() && rows.direct::<f64>(row).is_none());
            rows.gather_from(row, 0, &mut singles);
            #[allow(clippy::cast_possible_truncation, reason = "rounded like the view's")]
            let rounded = wanted.map(|value| value as f32);
            assert_eq!(singles, rounded, "{storage:?}");
        }
    }
}

#[test]
fn what_is_not_0_does_not_become_0() {
    let values = [1e-50, 0.0, 5e-324, -0.0, 0.1, 1e-40];
    let rows = Rows::from_slice(&values, 6);
    let mut singles = [7f32; 6];
    rows.gather_from(0, 0, &mut singles);
    assert_eq!(singles, [f32::from_bits(1), 0.0, f32::from_bits(1), 0.0, 0.1, 1e-40]);
}

#[test]
fn strided_rows_are_scattered() {
    for storage in [Storage::F32, Storage::F64] {
        let size = storage.size();
        let mut bytes = vec![0xAA; 1 + 24 * size];
        let (start, class_axis, axes) = strided_view(size);
        let pointer = bytes.as_mut_ptr();
        // SAFETY: elements 0 to 21 of the 24 in `bytes`, which is not used while the view is.
        let rows =
            unsafe { RowsMut::from_raw(pointer.add(start), storage, class_axis, axes.into_iter()) };
        assert!(rows.direct::<f32>(0).is_none() && rows.direct::<f64>(0).is_none());
        rows.scatter_part(Fallback::new(), 0, 0, &[9.0f64, 6.0, 3.0, 0.1]);
        rows.scatter_part(Fallback::new(), 1, 0, &[21.0f32, 18.0, 15.0, 12.5]);
        for (i, element) in bytes[1..].chunks(size).enumerate() {
            let wanted = match i {
                0 => 0.1,
                12 => 12.5,
                3 | 6 | 9 | 15 | 18 | 21 => f64::from(u8::try_from(i).unwrap()),
                _ => {
                    assert!(element.iter().all(|byte| *byte == 0xAA), "element {i} was written");
                    continue;
                }
            };
            #[allow(clippy::cast_possible_truncation, reason = "rounded like the view's")]
            let is_wanted = match storage {
                Storage::F32 => element == (wanted as f32).to_ne_bytes(),
                Storage::F64 => element == wanted.to_ne_bytes(),
                _ => unreachable!("not among the views of this test"),
            };
            assert!(is_wanted, "element {i} of {storage:?}: {element:?}");
        }
        assert_eq!(bytes[0], 0xAA);
    }
}

/// Neighbouring elements of the compute type are used in place, and so is a single class at any stride.
#[test]
fn neighbours_are_not_copied() {
    let mut values = [1f32, 2.0, 3.0, 4.0, 5.0, 6.0];
    let start = values.as_ptr();
    for (classes, rows) in [(3, 2), (1, 6)] {
        let view = Rows::from_slice(&values, classes);
        assert_eq!((view.rows(), view.classes(), view.storage()), (rows, classes, Storage::F32));
        for row in 0..rows {
            let source = view.direct::<f32>(row).expect("neighbours of this type");
            assert_eq!(source.get(0), values[row * classes]);
            assert!(view.direct::<f64>(row).is_none());
        }
    }
    // SAFETY: 2 elements of `values` that are 2 apart.
    let one_class =
        unsafe { Rows::from_raw(start.cast(), Storage::F32, (1, 400), [(2, 8)].into_iter()) };
    assert_eq!(one_class.direct::<f32>(1).expect("one class").get(0), 3.0);
    let sink = RowsMut::from_slice(&mut values, 3).direct::<f32>(1);
    sink.expect("neighbours of this type").set(2, 9.0);
    assert_eq!(values[5], 9.0);
}

#[test]
#[should_panic(expected = "row 2 of 2")]
fn no_row_beyond_the_last() {
    Rows::from_slice(&[0f32; 6], 3).gather_from(2, 0, &mut [0f32; 3]);
}

#[test]
#[should_panic(expected = "7 elements in rows of 3")]
fn no_broken_rows() {
    let _ = Rows::from_slice(&[0f32; 7], 3);
}

/// Rows that follow one another are one row; rows that are stored class by class are neighbours within their axis.
#[test]
fn rows_that_are_read_and_written_at_once() {
    let mut values: Vec<f32> = (0..24u8).map(f32::from).collect();
    let rows = Rows::from_slice(&values, 4);
    let run = rows.run::<f32>(1, 3).expect("one after another");
    assert_eq!((run.len(), run.get(0), run.get(11)), (12, 4.0, 15.0));
    assert!(rows.run::<f64>(0, 1).is_none() && rows.transposed(0, 2).is_none());
    let start = values.as_mut_ptr();
    // Twelve rows of two classes: two axes of six rows, class by class.
    let axes = [(2, 48), (6, 4)];
    // SAFETY: elements 0 to 23 of the 24 in `values`.
    let rows = unsafe { Rows::from_raw(start.cast(), Storage::F32, (2, 24), axes.into_iter()) };
    assert_eq!(rows.neighbours_from(8, 1), Some(4));
    for first in 0..12 {
        for count in 1..=12 - first {
            let is_within = first / 6 == (first + count - 1) / 6;
            assert_eq!(rows.transposed(first, count).is_some(), is_within, "{first}, {count}");
        }
    }
    // Each class of these rows becomes a row.
    assert!(rows.transposed(8, 5).is_none());
    let classes = rows.transposed(8, 4).expect("neighbours");
    let class = classes.direct::<f32>(1).expect("one after another");
    assert_eq!((classes.rows(), class.len(), class.get(0), class.get(3)), (2, 4, 20.0, 23.0));
    let column = classes.all_direct::<f32>().expect("one stride")(1);
    assert_eq!((column.len(), column.get(0), column.get(3)), (4, 20.0, 23.0));
    assert!(classes.all_direct::<f64>().is_none() && rows.all_direct::<f32>().is_none());
    assert!(rows.run::<f32>(0, 2).is_none());
    // SAFETY: as for `rows`, and no two elements share memory.
    let out = unsafe { RowsMut::from_raw(start.cast(), Storage::F32, (2, 24), axes.into_iter()) };
    let classes = out.transposed(2, 3).expect("neighbours");
    classes.all_direct::<f32>().expect("one stride")(1).set(2, -1.0);
    assert!(out.run::<f32>(0, 2).is_none());
    assert_eq!(values[10], -1.0);
    let out = RowsMut::from_slice(&mut values, 4);
    out.run::<f32>(2, 2).expect("one after another").set(7, -2.0);
    assert_eq!(values[15], -2.0);
}

#[test]
fn one_number_a_row() {
    let mut doubles = [9.0f64; 6];
    RowsMut::from_slice(&mut doubles, 1).set_rows(2, &[1.0, 2.0, 0.1]);
    assert_eq!(doubles, [9.0, 9.0, 1.0, 2.0, 0.1, 9.0]);
    let start = doubles.as_mut_ptr();
    let axes = [(3, 16)];
    // SAFETY: elements 0, 2 and 4. The stride of the class is that of the rows.
    let spread =
        unsafe { RowsMut::from_raw(start.cast(), Storage::F64, (1, 16), axes.into_iter()) };
    spread.set_rows(1, &[3.0, 4.0]);
    assert_eq!(doubles, [9.0, 9.0, 3.0, 2.0, 4.0, 9.0]);
    let mut singles = [9.0f32; 6];
    let start = singles.as_mut_ptr();
    let axes = [(3, 4), (2, 12)];
    // SAFETY: elements 0 to 5, each once: those of the inner axis are three apart.
    let grid = unsafe { RowsMut::from_raw(start.cast(), Storage::F32, (1, 0), axes.into_iter()) };
    grid.set_rows(1, &[1.0, 2.0, 0.1]);
    assert_eq!(singles, [9.0, 2.0, 9.0, 1.0, 0.1, 9.0]);
}

#[test]
#[should_panic(expected = "row 4 of 6, and 3 on")]
fn no_rows_beyond_the_last() {
    RowsMut::from_slice(&mut [0f32; 6], 1).set_rows(4, &[1.0; 3]);
}

#[test]
#[should_panic(expected = "row 3 of 3")]
fn no_class_beyond_the_last() {
    let values = [0f32; 6];
    let start = values.as_ptr();
    // SAFETY: two rows of three classes, class by class.
    let rows = unsafe { Rows::from_raw(start.cast(), Storage::F32, (3, 8), [(2, 4)].into_iter()) };
    let classes = rows.transposed(0, 2).expect("neighbours");
    classes.all_direct::<f32>().expect("one stride")(3);
}
