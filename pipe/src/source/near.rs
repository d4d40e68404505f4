//! Which names may be meant by one that does not exist.
//!
//! Must not know: where the names come from.

/// Names of images that may be what was meant, best first.
pub(super) fn images(wanted: &str, known: &[String]) -> Vec<String> {
    let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let wanted_last = last(wanted);
    let mut ranked: Vec<(usize, &String)> = known
        .iter()
        .filter_map(|name| {
            let bare = name.rsplit_once(':').map_or(name.as_str(), |(bare, _)| bare);
            let name_last = last(bare);
            let rank = if bare == wanted {
                0
            } else if name_last == wanted_last {
                1
            } else if name_last.contains(&wanted_last) || wanted_last.contains(&name_last) {
                2
            } else {
                3 + distance(&name_last, &wanted_last)
            };
            (rank <= 3 + MOST_DISTANCE).then_some((rank, name))
        })
        .collect();
    ranked.sort();
    ranked.into_iter().take(MOST_NAMES).map(|(_, name)| name.clone()).collect()
}

/// Some of the words, those that may be meant first.
pub(super) fn words(wanted: &str, mut known: Vec<String>) -> Vec<String> {
    let short = |word: &str| word.chars().take(LONGEST_WORD).collect::<String>();
    let wanted = short(wanted);
    known.sort_by_cached_key(|word| (distance(&wanted, &short(word)), word.clone()));
    known.truncate(MOST_NAMES);
    known
}

/// Levenshtein: letters to insert, remove or change.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in right.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

const MOST_NAMES: usize = 5;
/// More changes than this make another word.
const MOST_DISTANCE: usize = 2;
/// What file systems allow; more is not compared.
const LONGEST_WORD: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_come_best_first() {
        let local =
            ["other:1", "shop-apo:1", "reg.example/acme/shop-api:2", "shop-api:3", "shop:1"];
        let local = local.map(str::to_owned);
        let expected = ["shop-api:3", "reg.example/acme/shop-api:2", "shop:1", "shop-apo:1"];
        assert_eq!(images("shop-api", &local), expected);
    }

    #[test]
    fn a_file_with_a_name_like_it_comes_first() {
        let known = ["README.md", "app.tar", "zapp.tar.gz"].map(str::to_owned).to_vec();
        assert_eq!(words("apq.tar", known), ["app.tar", "zapp.tar.gz", "README.md"]);
    }

    #[test]
    fn distance_counts_letters() {
        assert_eq!(distance("shop", "shop"), 0);
        assert_eq!(distance("shop", "ship"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
