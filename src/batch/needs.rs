//! How many rows are in a group, a tile and a block, and the memory they need.

use super::RowOp;
use crate::element::Float;
use crate::kernel::group::Flow;
use crate::kernel::stats::{kept_len, padded_len};
use crate::kernel::transpose::MOST_TILES;
use crate::simd::MOST_LANES;
use crate::simd::memory::{Rows, RowsMut};
use crate::target::SmoothedTargets;

/// Logits of more bytes come from memory, and their outputs go there.
const CACHED_BYTES: usize = 1 << 23;
/// Rows of so many classes are in lanes where they lie one after another.
const TILED_CLASSES: usize = 64;
/// Bytes of tiles that are loaded together: half of a second-level cache.
const BYTES_OF_TILES: usize = 1 << 19;
/// Bytes of exponentials, both parts, that a group of rows may keep: part of a second-level cache.
/// Softmax of 256 x 1000, one thread: 97 µs with 2^15, 92 with 2^16, 91 with 2^17; gradient 115, 106, 104.
const BYTES_PER_GROUP: usize = 1 << 17;

/// The same of softmax in the caches, which has little to do but for the exponentials and finds them
/// in the nearest cache so: 256 x 1000 takes 0.94 times as long, on two threads 0.85; gradients 1.1.
const BYTES_PER_BRIEF_GROUP: usize = 1 << 14;

/// Logits of a group up to this fit the nearest cache beside their exponentials and outputs.
const NEAR_BYTES: usize = 1 << 14;

/// The memory that one thread needs, in elements: how many rows are in a group, and what each of
/// them needs.
#[derive(Clone, Copy)]
pub(super) struct Needs {
    pub(super) classes: usize,
    /// Are rows in lanes?
    pub(super) is_tiled: bool,
    /// Tiles that are loaded together.
    pub(super) tiles: usize,
    pub(super) group: usize,
    pub(super) exps: usize,
    pub(super) gathered: usize,
    pub(super) unscattered: usize,
    pub(super) kept: usize,
    pub(super) prior: usize,
    pub(super) mixture: usize,
}

impl Needs {
    pub(super) fn new<F: Float, O: RowOp<F>>(
        logits: &Rows<'_>,
        mask: Option<&Rows<'_>>,
        output: Option<&RowsMut<'_>>,
        op: &O,
    ) -> Self {
        let classes = logits.classes();
        let where_needed = |is_needed| if is_needed { classes } else { 0 };
        let padded = padded_len(classes, MOST_LANES);
        let (prior, mixture) = op.target_scratch();
        let lanes = lanes_of::<F>();
        let tile_bytes = classes.saturating_mul(2 * lanes * F::STORAGE.size()).max(1);
        let (tiles, most) = if logits.have_neighbours::<F>() {
            // A line of each class is far from that of the next: several at once, where they fit.
            (
                (BYTES_OF_TILES / tile_bytes).min(logits.rows() / lanes).clamp(1, MOST_TILES),
                BYTES_OF_TILES / (tile_bytes / classes.max(1)),
            )
        } else {
            (1, TILED_CLASSES)
        };
        let is_tiled = mask.is_none()
            && logits.rows() >= lanes
            && op.targets().is_none_or(SmoothedTargets::allow_tiles)
            && (1..=most).contains(&classes);
        let mut needs = Self {
            classes,
            is_tiled,
            tiles,
            group: 1,
            exps: if op.keeps_exps() { kept_len(classes, MOST_LANES) } else { 0 },
            gathered: where_needed(mask.is_some() || !logits.is_direct::<F>()),
            unscattered: where_needed(output.is_some_and(|output| !output.is_direct::<F>())),
            kept: where_needed(mask.is_some()),
            prior,
            mixture,
        };
        // Rows that are read where they lie take up room as well.
        let row_bytes = needs.row().max(padded).saturating_mul(F::STORAGE.size());
        let is_softmax = op.keeps_exps() && op.targets().is_none();
        let is_brief = is_softmax && !is_large::<F>(logits);
        let bytes = if is_brief { BYTES_PER_BRIEF_GROUP } else { BYTES_PER_GROUP };
        needs.group = (bytes / row_bytes.max(1)).clamp(1, lanes).min(logits.rows());
        needs
    }

    /// Of one row.
    pub(super) fn row(&self) -> usize {
        let parts = [self.gathered, self.unscattered, self.kept, self.prior, self.mixture];
        parts.iter().fold(self.exps, |sum, len| sum.saturating_add(*len))
    }

    /// Rows that are best in one block.
    pub(super) fn unit<F: Float>(&self) -> usize {
        if self.is_tiled { self.tiles * lanes_of::<F>() } else { self.group }
    }

    /// The flow through the caches of rows that are read and written where they lie.
    pub(super) fn flow<F: Float>(&self, logits: &Rows<'_>, output: Option<&RowsMut<'_>>) -> Flow {
        let group_bytes = self.group.saturating_mul(self.classes * F::STORAGE.size());
        Flow {
            streams: is_large::<F>(logits) && output.is_some_and(RowsMut::is_streamed),
            ahead: if logits.are_runs::<F>() { group_bytes } else { 0 },
            is_near: group_bytes <= NEAR_BYTES,
        }
    }

    /// Of all rows of a group, and of one shifted row; or of a tile.
    pub(super) fn len<F: Float>(&self) -> usize {
        // The logits of all tiles, their exponentials, and what those of one tile lost.
        let tile_len = self.classes * lanes_of::<F>();
        let tile = if self.is_tiled { (2 * self.tiles + 1) * tile_len } else { 0 };
        self.row().saturating_mul(self.group).saturating_add(self.classes).max(tile)
    }
}

/// Do the logits come from memory?
fn is_large<F: Float>(logits: &Rows<'_>) -> bool {
    let row_bytes = logits.classes().saturating_mul(F::STORAGE.size());
    logits.rows().saturating_mul(row_bytes) >= CACHED_BYTES
}

/// The lanes of vectors of `F`.
const fn lanes_of<F: Float>() -> usize {
    MOST_LANES * size_of::<f32>() / F::STORAGE.size()
}
