//! Answering queries from the saved index.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tantivy::collector::{FilterCollector, TopDocs};
use tantivy::query::{BooleanQuery, BoostQuery, Occur, Query, TermQuery};
use tantivy::schema::{Field, IndexRecordOption, Value};
use tantivy::{DocAddress, Order, Searcher, TantivyDocument, Term};

use super::{FILE, Fields, LINES, SEQ, each_file, failed, guarded, open, reader};
use crate::intent::{Position, ProjectionError};
use crate::search::analyze::{Analyzer, AskedTerm};
use crate::search::misspelt::Misspelt;
use crate::search::rank::{FOLDER_WORTH, Found, MAX_PER_FILE, NAME_WEIGHT, RELATED_WEIGHT, is_rare, spread};
use crate::search::reader::{Hit, Options};
use crate::search::thesaurus::Thesaurus;

/// Passages looked at for each one wanted: a file's best ones lie apart in the list.
const SPARE: usize = 8;
/// Passages looked at in any case.
const LEAST_DEPTH: usize = 400;
/// Files looked at by their names.
const NAMES: usize = 100;
/// What a further passage of a file is worth against the one before it.
const FURTHER: f64 = 0.5;

/// The saved index, open for queries. It stays with the state that it opened: a writer does not disturb it.
pub struct TantivyReader {
    directory: PathBuf,
    searcher: Searcher,
    fields: Fields,
    position: Position,
}

/// What speaks for a file.
#[derive(Default)]
struct Evidence {
    score: f64,
    /// The best passages by words, best first.
    passages: Vec<DocAddress>,
}

impl TantivyReader {
    /// Opens the index in the directory. What it does not read is not checked; `TantivyWriter::open` checks everything.
    ///
    /// # Errors
    /// As [`TantivyWriter::open`](super::TantivyWriter::open).
    pub fn open(directory: &Path) -> Result<Self, ProjectionError> {
        guarded(directory, || {
            let (index, fields, position) = open(directory)?;
            let searcher = reader(directory, &index)?.searcher();
            Ok(Self { directory: directory.to_owned(), searcher, fields, position })
        })
    }

    /// How far into the log the index reaches.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The passages that answer the query best by their words, best first, under the rules of
    /// [`SearchReader::search`](crate::search::SearchReader::search) for how many come from one file. The index knows no intents.
    ///
    /// # Errors
    /// [`ProjectionError::Damaged`] or [`ProjectionError::Io`] if what the query needs cannot be read.
    pub fn search(&self, query: &str, options: &Options<'_>) -> Result<Vec<Hit>, ProjectionError> {
        guarded(&self.directory, || {
            self.ranked(query, options).map_err(|error| failed(&self.directory, &error))
        })
    }

    fn ranked(&self, query: &str, options: &Options<'_>) -> tantivy::Result<Vec<Hit>> {
        let terms = self.terms(query)?;
        if terms.is_empty() || options.limit == 0 {
            return Ok(Vec::new());
        }
        let accepted = options.path.map(|accept| self.accepted(accept)).transpose()?.map(Arc::new);
        let all = (self.searcher.num_docs() as usize).max(1);
        let depth = options.limit.saturating_mul(SPARE).max(LEAST_DEPTH).min(all);
        let mut files: HashMap<u64, Evidence> = HashMap::new();
        for (score, address) in self.best(&[(self.fields.text, 1.0)], &terms, depth, accepted.as_ref())? {
            let file = files.entry(self.column(address, FILE)?).or_default();
            file.score += f64::from(score) * FURTHER.powi(file.passages.len() as i32);
            file.passages.push(address);
        }
        let names = [(self.fields.name, 1.0), (self.fields.folder, FOLDER_WORTH as f32)];
        for (score, address) in self.best(&names, &terms, NAMES.min(all), accepted.as_ref())? {
            files.entry(self.column(address, FILE)?).or_default().score += NAME_WEIGHT * f64::from(score);
        }
        let mut files: Vec<(u64, Evidence)> = files.into_iter().collect();
        files.sort_by(|(one, a), (two, b)| b.score.total_cmp(&a.score).then(one.cmp(two)));
        files.truncate(options.limit);
        let best = files.first().map_or(1.0, |(_, file)| file.score);

        let (mut addresses, mut found) = (Vec::new(), Vec::new());
        for (place, (id, file)) in files.iter_mut().enumerate() {
            if file.passages.is_empty() {
                // Found by its name alone: its beginning stands for it.
                file.passages.extend(self.beginning(*id)?);
            }
            for (rank, address) in file.passages.iter().take(MAX_PER_FILE).enumerate() {
                let score = file.score / best / (rank + 1) as f64;
                found.push(Found { file: place, chunk: addresses.len(), score });
                addresses.push(*address);
            }
        }
        found.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.chunk.cmp(&b.chunk)));
        let mut found = spread(found);
        found.truncate(options.limit);
        found.iter().map(|found| self.hit(addresses[found.chunk], files[found.file].0, found.score)).collect()
    }

    /// The terms of the query, those that are meant by terms which no text holds, and those related to the rare ones
    /// among them, with their weights.
    fn terms(&self, query: &str) -> tantivy::Result<Vec<(String, f32)>> {
        let analyzer = Analyzer::new();
        let words = analyzer.asked(query);
        let asked: Vec<String> = words.iter().map(|word| word.term.clone()).collect();
        let related = Thesaurus::new(&analyzer).related(&asked);
        let mut terms: Vec<(String, f32)> = asked.iter().map(|term| (term.clone(), 1.0)).collect();
        for (term, related_to) in related {
            let with =
                self.searcher.doc_freq(&Term::from_field_text(self.fields.text, &asked[related_to]))?;
            if is_rare(with as usize, self.searcher.num_docs() as usize) {
                terms.push((term, RELATED_WEIGHT as f32));
            }
        }
        for word in &words {
            terms.extend(self.meant(word)?);
        }
        Ok(terms)
    }

    /// The terms that may be meant by a word which no text holds. The index keeps terms alone, so that a slip in an
    /// ending that hides it finds less here than in the built-in one.
    fn meant(&self, word: &AskedTerm) -> tantivy::Result<Vec<(String, f32)>> {
        let fields = [self.fields.text, self.fields.name, self.fields.folder];
        for field in fields {
            if self.searcher.doc_freq(&Term::from_field_text(field, &word.term))? > 0 {
                return Ok(Vec::new());
            }
        }
        let Some(mut misspelt) = Misspelt::new(word) else {
            return Ok(Vec::new());
        };
        let beginning = misspelt.beginning();
        for segment in self.searcher.segment_readers() {
            for field in fields {
                let index = segment.inverted_index(field)?;
                let mut others = index.terms().range().ge(beginning.as_bytes()).into_stream()?;
                while others.advance() && others.key().starts_with(beginning.as_bytes()) {
                    if let Ok(other) = std::str::from_utf8(others.key()) {
                        misspelt.offer(other, None, u64::from(others.value().doc_freq));
                    }
                }
            }
        }
        let (terms, weight) = misspelt.meant();
        Ok(terms.into_iter().map(|term| (term, weight as f32)).collect())
    }

    /// The documents that hold most of the terms in these fields, best first.
    fn best(
        &self,
        fields: &[(Field, f32)],
        terms: &[(String, f32)],
        limit: usize,
        accepted: Option<&Arc<HashSet<u64>>>,
    ) -> tantivy::Result<Vec<(f32, DocAddress)>> {
        let mut clauses: Vec<(Occur, Box<dyn Query>)> = Vec::new();
        for (field, worth) in fields {
            for (term, weight) in terms {
                let term = Term::from_field_text(*field, term);
                let query = TermQuery::new(term, IndexRecordOption::WithFreqs);
                let weight = worth * weight;
                let query: Box<dyn Query> = if weight == 1.0 {
                    Box::new(query)
                } else {
                    Box::new(BoostQuery::new(Box::new(query), weight))
                };
                clauses.push((Occur::Should, query));
            }
        }
        let query = BooleanQuery::new(clauses);
        let top = TopDocs::with_limit(limit).order_by_score();
        match accepted.map(Arc::clone) {
            None => self.searcher.search(&query, &top),
            Some(accepted) => {
                let is_accepted = move |file: u64| accepted.contains(&file);
                self.searcher.search(&query, &FilterCollector::new(FILE.to_owned(), is_accepted, top))
            }
        }
    }

    /// The files whose path is accepted.
    fn accepted(&self, accept: &dyn Fn(&str) -> bool) -> tantivy::Result<HashSet<u64>> {
        let mut accepted = HashSet::new();
        each_file(&self.searcher, self.fields, |path, segment, document| {
            if accept(path) {
                accepted.extend(segment.fast_fields().u64(FILE)?.first(document));
            }
            Ok(())
        })?;
        Ok(accepted)
    }

    /// The first passage of a file.
    fn beginning(&self, file: u64) -> tantivy::Result<Option<DocAddress>> {
        let query = TermQuery::new(Term::from_field_u64(self.fields.file, file), IndexRecordOption::Basic);
        // The file's own document has no sequence number and may come first.
        let top = TopDocs::with_limit(2).order_by_fast_field::<u64>(SEQ, Order::Asc);
        let found = self.searcher.search(&query, &top)?;
        Ok(found.into_iter().find(|(seq, _)| seq.is_some()).map(|(_, address)| address))
    }

    fn hit(&self, address: DocAddress, file: u64, score: f64) -> tantivy::Result<Hit> {
        let entry = TermQuery::new(Term::from_field_u64(self.fields.entry, file), IndexRecordOption::Basic);
        let entry = self.searcher.search(&entry, &TopDocs::with_limit(1).order_by_score())?;
        let path = match entry.first() {
            Some((_, entry)) => {
                let document: TantivyDocument = self.searcher.doc(*entry)?;
                document.get_first(self.fields.path).and_then(|path| path.as_str()).map(str::to_owned)
            }
            None => None,
        };
        let document: TantivyDocument = self.searcher.doc(address)?;
        let event = document.get_first(self.fields.event).and_then(|event| event.as_bytes());
        let lines = self.column(address, LINES)?;
        match (path, event.and_then(|event| event.try_into().ok())) {
            (Some(path), Some(event)) => Ok(Hit {
                path,
                lines: ((lines >> 32) as u32, lines as u32),
                score,
                event,
                seq: self.column(address, SEQ)?,
                intent: None,
            }),
            _ => Err(tantivy::TantivyError::InternalError(format!(
                "the passage {address:?} has no file or event"
            ))),
        }
    }

    fn column(&self, address: DocAddress, name: &str) -> tantivy::Result<u64> {
        let segment = self.searcher.segment_reader(address.segment_ord);
        Ok(segment.fast_fields().u64(name)?.first(address.doc_id).unwrap_or_default())
    }
}
