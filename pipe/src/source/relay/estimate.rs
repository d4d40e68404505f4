//! Whether a relay is worth it, from the sizes in the history of an image.
//!
//! A history says more steps than there are layers (steps that change no file have none), and not
//! which; a size here is therefore the most that a layer may have.
//! Must not know: how layers come.

use crate::image::Digest;

/// Raw bytes that may pass through a relay; none if an export is the better way.
///
/// `history` has the size of each step in bytes, the newest first; `diff_ids` are all layers, bottom
/// first, and `needed` are some of them.
pub(super) fn limit(history: &[u64], diff_ids: &[Digest], needed: &[Digest]) -> Option<u64> {
    let sizes = sizes(history, diff_ids.len())?;
    let whole = history.iter().fold(0_u64, |sum, size| sum.saturating_add(*size));
    let is_needed: Vec<bool> = diff_ids.iter().rev().map(|layer| needed.contains(layer)).collect();
    let last = is_needed.iter().rposition(|needed| *needed)?;
    let largest = sizes.iter().zip(&is_needed).filter(|(_, needed)| **needed);
    let largest = largest.map(|(size, _)| *size).max()?;
    // Streams go side by side at the same length. What an engine begins later waits for what is above.
    let above = last.saturating_sub(SIDE_BY_SIDE - 1);
    let passing = sizes.iter().enumerate().map(|(place, size)| match place {
        place if place < above => *size,
        place if place < above + SIDE_BY_SIDE => (*size).min(largest.saturating_add(OVERHEAD)),
        _ => 0,
    });
    let passing = passing.fold(0_u64, u64::saturating_add);
    (whole >= SMALLEST && passing.saturating_mul(GAIN) <= whole).then_some(whole / GAIN + SLACK)
}

/// The most that each layer may have, the one at the top first.
pub(in crate::source) fn sizes(history: &[u64], layers: usize) -> Option<Vec<u64>> {
    let given: Vec<u64> = history.iter().copied().filter(|size| *size > 0).collect();
    // So many layers are somewhere among the steps without a size.
    let hidden = layers.checked_sub(given.len())?;
    if history.len() < layers {
        return None;
    }
    let most = |place: usize| {
        let until = given.len().min(place + 1);
        let range = place.saturating_sub(hidden).min(until)..until;
        given[range].iter().copied().max().unwrap_or_default()
    };
    Some((0..layers).map(most).collect())
}

/// As engines do it unless they are told otherwise (`max-concurrent-uploads`).
const SIDE_BY_SIDE: usize = 5;
/// What a stream has more than its files: heads of a tar, and what is on the way when another ends.
const OVERHEAD: u64 = 4 << 20;
/// An estimate may be wrong by so much.
const SLACK: u64 = 32 << 20;
/// An image that is exported in a moment.
const SMALLEST: u64 = 64 << 20;
/// A byte that an engine compresses takes about so many times as long as one that it exports.
const GAIN: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn layers(count: u8) -> Vec<Digest> {
        (0..count).map(|number| Digest::of(&[number])).collect()
    }

    #[test]
    fn a_small_layer_at_the_top_of_a_large_image_is_worth_it() {
        let (history, all) =
            ([5 * MIB, 0, 240 * MIB, 240 * MIB, 240 * MIB, 0, 240 * MIB], layers(5));
        assert!(limit(&history, &all, &all[4..]).is_some());
        assert_eq!(limit(&history, &all, &all[3..]), None);
        assert_eq!(limit(&history, &all, &[]), None);
    }

    #[test]
    fn a_small_image_is_exported() {
        let all = layers(2);
        assert_eq!(limit(&[MIB, 20 * MIB], &all, &all[1..]), None);
    }

    #[test]
    fn what_lies_below_large_layers_is_exported() {
        let mut history = vec![100 * MIB; 9];
        history[8] = MIB;
        let all = layers(9);
        assert_eq!(limit(&history, &all, &all[..1]), None);
        assert!(limit(&history, &all, &all[4..5]).is_none());
        history[0] = MIB;
        assert!(limit(&history, &all, &all[8..]).is_some());
    }

    #[test]
    fn a_layer_may_be_as_large_as_any_that_it_may_be() {
        // Two layers without a size, somewhere.
        assert_eq!(sizes(&[0, 3, 0, 7, 1, 0], 5), Some(vec![3, 7, 7, 7, 1]));
        assert_eq!(sizes(&[3, 7], 3), None);
        assert_eq!(sizes(&[3, 7, 1], 2), None);
        assert_eq!(sizes(&[], 0), Some(vec![]));
    }
}
