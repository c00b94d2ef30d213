//! The numbers of several rows, one in each lane of a vector of doubles: sums, targets and results. [`super::finish`] has
//! the formulas.

use crate::math::Real;
use crate::simd::{Float, MOST_LANES};
use crate::target::RowTarget;

/// One number for each row.
pub(crate) type Lanes = [f64; MOST_LANES];

/// Numbers of several rows: in memory, one in each lane; or of some of these rows, in vectors.
macro_rules! scalars {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default)]
        #[repr(align(64))]
        pub(crate) struct $name<T = Lanes> {
            $($(#[$field_doc])* pub(crate) $field: T,)*
        }

        impl $name {
            #[allow(dead_code, reason = "of reduced rows alone")]
            pub(super) const ZEROS: Self = Self { $($field: [0.0; MOST_LANES],)* };

            /// Loads the numbers of the rows from `first` on.
            #[inline(always)]
            pub(super) fn vectors<D: Real>(&self, token: D::Token, first: usize) -> $name<D> {
                $name { $($field: D::from_slice(token, &self.$field[first..]),)* }
            }

            /// The numbers of a row, in all lanes.
            #[inline(always)]
            #[allow(dead_code, reason = "of targets")]
            pub(super) fn splat<D: Real>(&self, token: D::Token, row: usize) -> $name<D> {
                $name { $($field: D::splat(token, self.$field[row]),)* }
            }
        }

        impl<D: Real> $name<D> {
            /// Stores the numbers of the rows from `first` on.
            #[inline(always)]
            #[allow(dead_code, reason = "not of reduced rows")]
            pub(super) fn put(&self, lanes: &mut $name, first: usize) {
                $(self.$field.to_slice(&mut lanes.$field[first..]);)*
            }
        }
    };
}

scalars! {
    /// The results of reducing rows.
    ReducedLanes {
        /// M
        max,
        /// The sum of the exponentials, without the first maximum except for softmax: [`super::reduce::Partial::sum`].
        sum,
        /// The rounding error of that sum; 0 for float32 rows.
        lost,
        /// e_M as in the sweep.
        top,
        /// e_M, not rounded to the type of the rows, and its rounding error.
        wide_top,
        wide_top_lost,
        /// Σ w_k (M − z_k), in units.
        dot,
        /// M − z_y, in units; arbitrary if the spike is 0.
        gap,
        /// The unit of the two above: 1, or a power of two if they would overflow.
        unit,
        /// The exponential at the label.
        exp_label,
        /// w at the label.
        weight_label,
    }
}

scalars! {
    /// The targets of rows: see the formulas above. Arbitrary for rows that do not count.
    TargetLanes {
        spike,
        beta,
        smooth_mass,
        /// What spike + Q is less than the exact Σ q', for float64 rows.
        mass_lost,
        /// The factor of the loss.
        weight,
        /// The factor of the gradient: weight·unit/(T·divisor).
        scale,
    }
}

impl TargetLanes {
    /// The same target in all lanes.
    #[inline(always)]
    pub(crate) fn of_all<F: Float>(target: &RowTarget<'_, F>, scale: f64) -> Self {
        let RowTarget { spike, beta, smooth_mass, mass_lost, weight, .. } = *target;
        let [spike, beta, smooth_mass, mass_lost, weight, scale] =
            [spike, beta, smooth_mass, mass_lost, weight, scale].map(|value| [value; MOST_LANES]);
        Self { spike, beta, smooth_mass, mass_lost, weight, scale }
    }

    /// Sets the target of the row in a lane. The loss is multiplied by `target.weight`, the gradient by `scale`.
    pub(crate) fn set<F: Float>(&mut self, lane: usize, target: &RowTarget<'_, F>, scale: f64) {
        let RowTarget { spike, beta, smooth_mass, mass_lost, weight, .. } = *target;
        TargetLanes { spike, beta, smooth_mass, mass_lost, weight, scale }.put(self, lane);
    }
}

scalars! {
    /// The results for rows, as far as the operation needs them.
    FinishedLanes {
        /// The number that the operation computes for each row: the lse, the loss or, for log-probabilities, L.
        scalar,
        /// M/T + L
        lse,
        /// The gradient, in units: factor·e + minus·w, and `label` at the label.
        factor,
        minus,
        label,
        /// 1, or a power of two if the numbers above would be far from 1.
        unit,
    }
}
