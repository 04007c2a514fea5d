//! Which files and passages answer a query best.
//!
//! Two scorings of files, four where a model made vectors, are brought to one scale and added:
//!
//! - *words*: BM25 of the best chunk, BM25 of the file as a whole, and BM25 of its name. The best chunk alone takes
//!   a passing remark for the subject, the file alone loses the passage in a long text, and neither knows that a
//!   title names the subject; the sum measured better than any. What stands at the begin of a file counts more,
//!   because there it says what it is about.
//! - *meaning*: nearness of the best chunk and of the file's chunks together to the query in the latent
//!   space. The query is first drawn towards the best chunks by words (pseudo-relevance feedback),
//!   since the few words of a question alone place it badly.
//! - *model*: nearness of the query's vector to those of the chunks, where an embedder that knows more of the
//!   language than the vault can teach was configured. Then two things are known besides: a chunk that is good by
//!   words and by the model at once is counted once more (*both*), and where no chunk holds much of what was asked,
//!   the query says it otherwise than the texts and the scoring by words counts less.
//!
//! Adding scores measured better than adding places (reciprocal rank fusion): a file that leads by far in one
//! scoring is seldom wrong, and places do not tell by how much.
//!
//! Within a file, the passages are fused by place.
//!
//! Scores are floating-point; nothing that is stored depends on them. Ties fall to the older chunk.

use super::latent::{self, Space};
use super::layout::{FileRecord, Named, PostingList};

/// Saturation of repeated words within a chunk (BM25's k1), the customary value.
const CHUNK_SATURATION: f64 = 1.2;
/// Saturation within a file: files are longer, and a subject shows in repetitions.
const FILE_SATURATION: f64 = 2.0;
/// How far length is held against a chunk (BM25's b), the customary value.
const CHUNK_LENGTH_WEIGHT: f64 = 0.75;
/// How far length is held against a file: more, because a file that is about everything (a reference, a
/// log of changes) repeats every word.
const FILE_LENGTH_WEIGHT: f64 = 0.8;
/// Occurrences elsewhere that one in the first chunk of a file is worth.
const LEAD_WORTH: f64 = 2.0;
/// Weight of the best chunk against the whole file.
const CHUNK_WEIGHT: f64 = 0.75;
/// Weight of the name against the whole file.
pub(super) const NAME_WEIGHT: f64 = 0.6;
/// What a folder's name is worth against the file's own: it is shared with its neighbours.
pub(super) const FOLDER_WORTH: f64 = 0.3;
/// How far length is held against a title or file name: what names three things names each of them less.
const NAME_LENGTH_WEIGHT: f64 = 0.5;
/// Words of a query that occur in no more than one of so many chunks are looked up in the thesaurus. The text
/// seems to say it otherwise there; for a word that it does use, others in its place only mislead.
const RARE_SHARE: usize = 256;
/// What an occurrence of a related word is worth against one of the word that was asked for.
pub(super) const RELATED_WEIGHT: f64 = 0.3;
/// Weight of the scoring by words.
const WORDS_WEIGHT: f64 = 1.0;
/// Weight of the scoring by meaning.
const MEANING_WEIGHT: f64 = 0.6;
/// Weight of the scoring by words beside a model's, if a chunk held all that was asked; it falls with the square
/// of the part that the best chunk holds. That is half of it as a rule, and gives [`WORDS_WEIGHT`].
const CLEAR_WORDS_WEIGHT: f64 = 4.0;
/// Weight of the scoring by a model's vectors: with less a model finds what words do not say too late, with more it
/// outvotes words that are meant as they stand.
const MODEL_WEIGHT: f64 = 1.7;
/// Weight of the best chunk by words and model together.
const BOTH_WEIGHT: f64 = 0.6;
/// The place whose score counts as nothing when two scorings are brought to one scale.
const FUSION_DEPTH: usize = 50;
/// The same for a model's scoring: it falls slowly, for every text is a little like the query.
const MODEL_DEPTH: usize = 100;
/// The same for a model's scoring of chunks, of which a file has several.
const MODEL_CHUNK_DEPTH: usize = 300;
/// Constant of the fusion of passages by place: small, so that the very first places matter.
const FUSION: f64 = 10.0;
/// Chunks that feed back into the query.
const FEEDBACK_CHUNKS: usize = 3;
/// Weight of the chunks that feed back, together, against the query's own place.
const FEEDBACK_WEIGHT: f64 = 2.0;
/// Exponent of the number of chunks by which a file's summed nearness is divided: a little less than
/// the mean, so that a longer file on the subject is preferred.
const SUM_EXPONENT: f64 = 0.9;
/// The same for a model's nearness, which is seldom below zero: of many chunks the sum would say too much.
const MODEL_SUM_EXPONENT: f64 = 0.95;
/// What the model's nearness of a file's first chunk counts besides, against the best one's: it says what the file
/// is about.
const MODEL_LEAD: f64 = 0.4;
/// What a file below that place still gets, against the best: enough to keep the order.
const BELOW_FLOOR: f64 = 1e-6;
/// Most hits from one file.
pub(super) const MAX_PER_FILE: usize = 3;
/// Hits that are seen first: what a query returns unless it asks for another number.
pub(super) const FIRST_HITS: usize = 10;
/// Most hits from one file among the first, so that they show five files where five answer: a file that
/// leads wrongly must not crowd out the right one. More are shown there only if other files have none left.
const MAX_PER_FILE_FIRST: usize = 2;

/// What a ranking needs to know of the saved projection.
pub(super) struct Shape<'a> {
    /// Words in each chunk.
    pub(super) lengths: &'a [u32],
    /// First chunk of each file, and the number of chunks at the end.
    pub(super) starts: &'a [u32],
    pub(super) files: &'a [FileRecord],
    /// The latent space and the chunks' vectors in it.
    pub(super) space: &'a Space,
    pub(super) vectors: &'a [u8],
    /// What a model makes of query and chunks, if there is one.
    pub(super) model: Option<Model>,
}

/// A query's vector and those that the same embedder made of the chunks, one row each.
pub(super) struct Model {
    pub(super) query: Vec<f64>,
    pub(super) vectors: Vec<u8>,
}

/// A term's posting list and what it is worth.
pub(super) struct Evidence {
    list: PostingList,
    weight: f64,
    /// Chunks that the term is taken to occur in at least.
    spread: usize,
    /// Whether the query holds the term itself.
    asked: bool,
}

impl Evidence {
    /// A term of the query.
    pub(super) fn asked(list: PostingList) -> Self {
        Self { list, weight: 1.0, spread: 0, asked: true }
    }

    /// A term related to one of the query's that occurs in `spread` chunks. It is held to be no rarer than
    /// that one: a rare synonym of a common word is still a common notion.
    pub(super) fn related(list: PostingList, spread: usize) -> Self {
        Self { list, weight: RELATED_WEIGHT, spread, asked: false }
    }

    /// A term that is meant by one of the query's which no text holds.
    pub(super) fn meant(list: PostingList, weight: f64) -> Self {
        Self { list, weight, spread: 0, asked: false }
    }
}

/// Whether a word that occurs in so many of all chunks may be another than the texts use.
pub(super) fn is_rare(with: usize, chunks: usize) -> bool {
    with * RARE_SHARE <= chunks
}

/// A chunk that was found, with its score; the best conceivable one is 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Found {
    pub(super) file: usize,
    pub(super) chunk: usize,
    pub(super) score: f64,
}

/// Ranks chunks for the posting lists of a query's terms. Files that `accept` refuses take no place, and none of the
/// passages that `accept_passage` refuses is found.
pub(super) fn rank(
    shape: &Shape<'_>,
    lists: &[Evidence],
    limit: usize,
    accept: impl Fn(usize) -> bool,
    accept_passage: impl Fn(usize) -> bool,
) -> Vec<Found> {
    let words = Words::of(shape, lists);
    let nearness = Nearness::of(shape, lists, &words);
    let model = shape.model.as_ref().map(|model| model.nearness(shape));
    // Weight, files, the place whose score counts as nothing.
    let mut scorings =
        vec![(WORDS_WEIGHT, &words.by_file, FUSION_DEPTH), (MEANING_WEIGHT, &nearness.by_file, FUSION_DEPTH)];
    let mut passages_by = vec![&words.by_chunk, &nearness.by_chunk];
    let both;
    if let Some(model) = &model {
        both = words.and(model, shape);
        scorings[0].0 = CLEAR_WORDS_WEIGHT * words.held(lists).powi(2);
        scorings.push((MODEL_WEIGHT, &model.by_file, MODEL_DEPTH));
        scorings.push((BOTH_WEIGHT, &both, FUSION_DEPTH));
        passages_by.push(&model.by_chunk);
    }
    let mut scores = vec![0f64; shape.files.len()];
    for &(weight, scoring, depth) in &scorings {
        for (score, share) in scores.iter_mut().zip(shares(scoring, depth, &accept)) {
            *score += weight * share;
        }
    }
    let best: f64 = scorings.iter().map(|(weight, ..)| weight).sum();
    let mut found = Vec::new();
    // Later chunks of a file score less than its first, so `limit` files hold all hits that can matter.
    let mut files = 0;
    for file in descending(&scores) {
        if files == limit {
            break;
        }
        let chunks = shape.chunks(file);
        let mut order = vec![0f64; chunks.len()];
        for ranking in &passages_by {
            for (place, index) in descending(&ranking[chunks.clone()]).into_iter().enumerate() {
                order[index] += 1.0 / (FUSION + 1.0 + place as f64);
            }
        }
        let accepted = |index: &usize| accept_passage(chunks.start + index);
        let mut passages = descending(&order);
        if passages.is_empty() {
            // Found by its name alone: its beginning stands for it.
            passages.extend((0..chunks.len()).find(accepted));
        }
        passages.retain(accepted);
        files += usize::from(!passages.is_empty());
        let passages = passages.into_iter().take(MAX_PER_FILE);
        found.extend(passages.enumerate().map(|(place, index)| Found {
            file,
            chunk: chunks.start + index,
            score: scores[file] / best / (place + 1) as f64,
        }));
    }
    found.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.chunk.cmp(&b.chunk)));
    let mut found = spread(found);
    found.truncate(limit);
    found
}

/// The scores on the common scale: the best accepted one is 1, the one at `depth` counts as nothing.
fn shares(scoring: &[f64], depth: usize, accept: impl Fn(usize) -> bool) -> Vec<f64> {
    let mut shares = vec![0f64; scoring.len()];
    let accepted: Vec<usize> = descending(scoring).into_iter().filter(|index| accept(*index)).collect();
    let Some(&best) = accepted.first() else {
        return shares;
    };
    let floor = accepted.get(depth).map_or(0.0, |&index| scoring[index]);
    for index in accepted {
        // What lies below the floor keeps its order, and stays behind all else.
        let share = (scoring[index] - floor) / (scoring[best] - floor).max(f64::MIN_POSITIVE);
        shares[index] = share.max(scoring[index] / scoring[best] * BELOW_FLOOR);
    }
    shares
}

/// Moves hits beyond [`MAX_PER_FILE_FIRST`] of their file out of the first [`FIRST_HITS`], behind them, as
/// far as other hits can take their places. What is moved takes the score of its new place, so that
/// scores never rise along the list.
pub(super) fn spread(found: Vec<Found>) -> Vec<Found> {
    let mut spread: Vec<Found> = Vec::with_capacity(found.len());
    let mut held = Vec::new();
    let mut rest = found.into_iter();
    while spread.len() < FIRST_HITS {
        let Some(next) = rest.next() else {
            break;
        };
        if spread.iter().filter(|other| other.file == next.file).count() < MAX_PER_FILE_FIRST {
            spread.push(next);
        } else {
            held.push(next);
        }
    }
    // Held hits scored no less than what is left.
    for mut late in held.into_iter().chain(rest) {
        if let Some(last) = spread.last() {
            late.score = late.score.min(last.score);
        }
        spread.push(late);
    }
    spread
}

impl Shape<'_> {
    pub(super) fn chunks(&self, file: usize) -> std::ops::Range<usize> {
        self.starts[file] as usize..self.starts[file + 1] as usize
    }

    fn vector(&self, chunk: usize) -> &[u8] {
        &self.vectors[chunk * self.space.dimension..][..self.space.dimension]
    }
}

/// Scores by words.
struct Words {
    by_chunk: Vec<f64>,
    /// The file as a whole.
    whole: Vec<f64>,
    /// Best chunk, whole file and name together.
    by_file: Vec<f64>,
    file_of: Vec<u32>,
}

impl Words {
    fn of(shape: &Shape<'_>, lists: &[Evidence]) -> Self {
        let (chunks, files) = (shape.lengths.len(), shape.files.len());
        let mut file_of = vec![0u32; chunks];
        let mut lengths = vec![0f64; files];
        for (file, length) in lengths.iter_mut().enumerate() {
            for chunk in shape.chunks(file) {
                file_of[chunk] = file as u32;
                *length += f64::from(shape.lengths[chunk]);
            }
        }
        let total: f64 = lengths.iter().sum();
        let mean_chunk = (total / chunks as f64).max(1.0);
        let mean_file = (total / files as f64).max(1.0);

        let mut by_chunk = vec![0f64; chunks];
        let mut whole = vec![0f64; files];
        let mut counts: Vec<f64> = vec![0.0; files];
        let mut names = Names::of(shape);
        for evidence in lists {
            let list = &evidence.list;
            let rarity = evidence.weight * rarity(list.chunks.len().max(evidence.spread), chunks);
            let mut touched: Vec<usize> = Vec::new();
            for occurrence in &list.chunks {
                // A heading is part of the text of the chunk below it, and those further below are about more.
                if occurrence.count == 0 {
                    continue;
                }
                let chunk = occurrence.term as usize;
                let file = file_of[chunk] as usize;
                let worth = f64::from(occurrence.count);
                let relative = f64::from(shape.lengths[chunk]) / mean_chunk;
                by_chunk[chunk] += rarity * saturated(worth, CHUNK_SATURATION, CHUNK_LENGTH_WEIGHT, relative);
                if counts[file] == 0.0 {
                    touched.push(file);
                }
                let lead = chunk == shape.starts[file] as usize;
                counts[file] += if lead { worth * LEAD_WORTH } else { worth };
            }
            names.add(shape, evidence);
            let rarity =
                evidence.weight * self::rarity(touched.len().max(evidence.spread * files / chunks), files);
            for file in touched {
                let relative = lengths[file] / mean_file;
                whole[file] +=
                    rarity * saturated(counts[file], FILE_SATURATION, FILE_LENGTH_WEIGHT, relative);
                counts[file] = 0.0;
            }
        }
        let by_file = (0..files)
            .map(|file| {
                let best = largest(&by_chunk[shape.chunks(file)]);
                whole[file] + CHUNK_WEIGHT * best + NAME_WEIGHT * names.scores[file]
            })
            .collect();
        Self { by_chunk, whole, by_file, file_of }
    }

    /// How much of what was asked the best chunk holds, from nothing to one.
    fn held(&self, lists: &[Evidence]) -> f64 {
        let asked = lists.iter().filter(|evidence| evidence.asked);
        let rarity: f64 = asked.map(|evidence| rarity(evidence.list.chunks.len(), self.by_chunk.len())).sum();
        let most = rarity * (CHUNK_SATURATION + 1.0);
        if most > 0.0 { (largest(&self.by_chunk) / most).min(1.0) } else { 0.0 }
    }

    /// Files by the chunk that is best by words and model together.
    fn and(&self, model: &Nearness, shape: &Shape<'_>) -> Vec<f64> {
        let best = largest(&self.by_chunk).max(f64::MIN_POSITIVE);
        let mut both = shares(&model.by_chunk, MODEL_CHUNK_DEPTH, |_| true);
        for (score, words) in both.iter_mut().zip(&self.by_chunk) {
            *score += words / best;
        }
        (0..shape.files.len()).map(|file| largest(&both[shape.chunks(file)])).collect()
    }
}

/// Scores of the files' names.
struct Names {
    scores: Vec<f64>,
    mean_title: f64,
    mean_stem: f64,
}

impl Names {
    fn of(shape: &Shape<'_>) -> Self {
        let mean = |length: fn(&FileRecord) -> u32| {
            let sum: f64 = shape.files.iter().map(|file| f64::from(length(file))).sum();
            (sum / shape.files.len() as f64).max(1.0)
        };
        Self {
            scores: vec![0.0; shape.files.len()],
            mean_title: mean(|file| file.title_terms),
            mean_stem: mean(|file| file.stem_terms),
        }
    }

    fn add(&mut self, shape: &Shape<'_>, evidence: &Evidence) {
        let files = shape.files.len();
        let own = evidence.list.files.iter().filter(|name| name.places != Named::FOLDER).count();
        let spread = evidence.spread * files / shape.lengths.len();
        let rarity = evidence.weight * rarity(own.max(spread), files);
        for name in &evidence.list.files {
            let file = &shape.files[name.file as usize];
            let shortness = |terms: u32, mean: f64| {
                1.0 / (1.0 - NAME_LENGTH_WEIGHT + NAME_LENGTH_WEIGHT * f64::from(terms) / mean)
            };
            let worth = [
                (Named::TITLE, shortness(file.title_terms, self.mean_title)),
                (Named::STEM, shortness(file.stem_terms, self.mean_stem)),
                (Named::FOLDER, FOLDER_WORTH),
            ];
            let worth: f64 =
                worth.iter().filter(|(place, _)| name.places & place != 0).map(|(_, worth)| worth).sum();
            self.scores[name.file as usize] += rarity * worth / (worth + 1.0);
        }
    }
}

fn rarity(with: usize, all: usize) -> f64 {
    let (with, all) = (with as f64, all as f64);
    (1.0 + (all - with + 0.5) / (with + 0.5)).ln()
}

fn saturated(count: f64, saturation: f64, length_weight: f64, relative_length: f64) -> f64 {
    let norm = saturation * (1.0 - length_weight + length_weight * relative_length);
    count * (saturation + 1.0) / (count + norm)
}

/// Scores by nearness in the latent space.
struct Nearness {
    by_chunk: Vec<f64>,
    by_file: Vec<f64>,
}

impl Nearness {
    fn of(shape: &Shape<'_>, lists: &[Evidence], words: &Words) -> Self {
        let (chunks, files) = (shape.lengths.len(), shape.files.len());
        let mut nearness = Self { by_chunk: vec![0.0; chunks], by_file: vec![0.0; files] };
        // Related words would drag the query's place about; company does their work here.
        let asked = lists.iter().filter(|evidence| evidence.asked);
        let terms = asked.map(|evidence| (&evidence.list, 1));
        let place = latent::place(shape.space, shape.vectors, terms);
        let mut query = drawn(shape, &place, words);
        if query.iter().all(|component| *component == 0.0) {
            return nearness;
        }
        // What all texts share leads the spectrum and tells least: each component counts as its spread is narrow.
        let whitening = shape.space.whitening();
        for (component, factor) in query.iter_mut().zip(&whitening) {
            *component *= factor;
        }
        for chunk in 0..chunks {
            let (mut dot, mut square) = (0f64, 0f64);
            for ((component, byte), factor) in query.iter().zip(shape.vector(chunk)).zip(&whitening) {
                let value = f64::from(*byte as i8) * factor;
                dot += component * value;
                square += value * value;
            }
            if square > 0.0 {
                nearness.by_chunk[chunk] = dot / square.sqrt();
            }
        }
        nearness.of_files(shape, SUM_EXPONENT, 0.0);
        nearness
    }

    /// A file is as near as its best chunk and all of them together, and by `lead` its first one.
    fn of_files(&mut self, shape: &Shape<'_>, exponent: f64, lead: f64) {
        for (file, score) in self.by_file.iter_mut().enumerate() {
            let own = &self.by_chunk[shape.chunks(file)];
            let sum: f64 = own.iter().sum();
            let spread = (own.len().max(1) as f64).powf(exponent);
            let first = own.first().map_or(0.0, |first| first.max(0.0));
            *score = largest(own) + sum / spread + lead * first;
        }
    }
}

impl Model {
    fn nearness(&self, shape: &Shape<'_>) -> Nearness {
        let (chunks, files) = (shape.lengths.len(), shape.files.len());
        let mut nearness = Nearness { by_chunk: vec![0.0; chunks], by_file: vec![0.0; files] };
        let length = self.query.iter().map(|component| component * component).sum::<f64>().sqrt();
        let rows = self.vectors.chunks_exact(self.query.len());
        for (score, row) in nearness.by_chunk.iter_mut().zip(rows) {
            let (mut dot, mut square) = (0f64, 0i32);
            for (component, byte) in self.query.iter().zip(row) {
                let value = *byte as i8;
                dot += component * f64::from(value);
                square += i32::from(value) * i32::from(value);
            }
            if square > 0 {
                *score = dot / length / f64::from(square).sqrt();
            }
        }
        nearness.of_files(shape, MODEL_SUM_EXPONENT, MODEL_LEAD);
        nearness
    }
}

/// The query's place at unit length, drawn towards the chunks that are best by words.
fn drawn(shape: &Shape<'_>, place: &[i64], words: &Words) -> Vec<f64> {
    let mut query: Vec<f64> = place.iter().map(|component| *component as f64).collect();
    let length = query.iter().map(|c| c * c).sum::<f64>().sqrt();
    if length > 0.0 {
        for component in &mut query {
            *component /= length;
        }
    }
    let evidence: Vec<f64> = words
        .by_chunk
        .iter()
        .zip(&words.file_of)
        .map(|(score, file)| if *score > 0.0 { score + words.whole[*file as usize] } else { 0.0 })
        .collect();
    for chunk in descending(&evidence).into_iter().take(FEEDBACK_CHUNKS) {
        let vector = shape.vector(chunk);
        let square: f64 = vector.iter().map(|b| f64::from(*b as i8).powi(2)).sum();
        if square > 0.0 {
            let factor = FEEDBACK_WEIGHT / FEEDBACK_CHUNKS as f64 / square.sqrt();
            for (component, byte) in query.iter_mut().zip(vector) {
                *component += factor * f64::from(*byte as i8);
            }
        }
    }
    query
}

fn largest(scores: &[f64]) -> f64 {
    scores.iter().copied().fold(0.0, f64::max)
}

/// Indices of the positive scores, best first, the lower index first where they are equal.
fn descending(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).filter(|&index| scores[index] > 0.0).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `files[n]` is the file of the n-th best hit; what comes out is the order of the files.
    fn check(files: &[usize], expected: &[usize]) {
        let found = files.iter().enumerate().map(|(place, &file)| Found {
            file,
            chunk: place,
            score: 1.0 / (place + 1) as f64,
        });
        let spread = spread(found.collect());
        let shown: Vec<usize> = spread.iter().map(|hit| hit.file).collect();
        assert_eq!(shown, expected, "{files:?}");
        assert!(spread.is_sorted_by(|a, b| a.score >= b.score), "{spread:?}");
    }

    #[test]
    fn the_first_hits_are_spread_over_files() {
        check(&[], &[]);
        // A third hit steps back behind all others, but is not lost.
        check(&[0, 0, 0, 1], &[0, 0, 1, 0]);
        check(&[0, 0, 0], &[0, 0, 0]);
        // Five files share the first ten.
        check(&[0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4], &[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 0, 1, 2, 3, 4]);
        // Behind the first ten the order is by score alone.
        check(
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10, 11],
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10, 11],
        );
    }

    #[test]
    fn the_default_shows_five_files_where_four_lead_by_far() {
        use super::super::{ChunkInput, Options, SearchReader, SearchWriter};
        let directory = tempfile::tempdir().unwrap();
        let mut writer = SearchWriter::create(directory.path());
        let mut seq = 0;
        let mut add = |path: &str, texts: &[String]| {
            writer.file_indexed(path);
            for text in texts {
                seq += 1;
                let event = *blake3::hash(&u64::to_le_bytes(seq)).as_bytes();
                writer.add_chunk(&ChunkInput { seq, event, path, lines: (1, 9), heading: None, text });
            }
        };
        let about = vec!["The tide table gives tide and current; spring tide, neap tide. ".repeat(9); 4];
        let aside = "Bread, dough, yeast, oven, crust and flour fill the long page. ".repeat(20);
        for path in ["tide table.md", "neap tide table.md", "spring tide table.md", "table of tides.md"] {
            add(path, &about);
        }
        add("bread.md", &[format!("{aside} A tide of bakers.")]);
        writer.persist(crate::intent::Position { seq: 99, head: [1; 32] }).unwrap();
        let reader = SearchReader::open(directory.path()).unwrap();
        let hits = reader.search("neap and spring tide table", &Options::default()).unwrap();
        let files: std::collections::BTreeSet<_> = hits.iter().map(|hit| &hit.path).collect();
        assert_eq!((hits.len(), files.len()), (FIRST_HITS, 5), "{hits:#?}");
    }
}
