//! The tables of a sidecar, in blocks that are read and checked one by one: however large an index is, a look-up
//! takes a few blocks and no memory.
//!
//! Tables follow each other; each begins with a new block. A block is 4,092 bytes of entries, the rest of them
//! zeros, and their CRC-32. Ids and digests are named by their first eight bytes, read as a big-endian number so
//! that numbers are ordered as digests are.
//!
//! | Table | Entry |
//! |---|---|
//! | offsets | for each event in order: where its entry lies (4) |
//! | ids | sorted: id (8), where the event's entry lies (4) |
//! | contents | sorted: digest (8), where the content's entry lies (4) |
//! | links | sorted: parent's id (8), where the child's entry lies (4) |
//! | id filter, content filter | words of a Bloom filter (8), see [`filter`](super::filter) |

use super::filter::{bits, word_count};
use super::frame::{u32_at, u64_at};

/// Bytes of a block.
pub(crate) const BLOCK: usize = 4096;
/// Bytes of entries in a block.
const PAYLOAD: usize = BLOCK - 4;
const PAIR: usize = 12;

/// One block.
pub(crate) type Block = [u8; BLOCK];

/// One of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Offsets,
    Ids,
    Contents,
    Links,
    IdFilter,
    ContentFilter,
}

use Table::{ContentFilter, Contents, IdFilter, Ids, Links, Offsets};

const ORDER: [Table; 6] = [Offsets, Ids, Contents, Links, IdFilter, ContentFilter];

/// How many entries there are, from which everything's place follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) events: u32,
    pub(crate) contents: u32,
    pub(crate) links: u32,
}

/// Where blocks come from. What is wrong, if one cannot be had.
pub(crate) trait Blocks {
    fn read(&self, number: u64, block: &mut Block) -> Result<(), String>;
}

/// Tables in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) shape: Shape,
    pub(crate) bytes: Vec<u8>,
}

/// Looks things up in tables, wherever they lie.
pub(crate) struct Tables<'a> {
    pub(crate) shape: Shape,
    pub(crate) blocks: &'a dyn Blocks,
}

impl Table {
    const fn entry(self) -> usize {
        match self {
            Offsets => 4,
            Ids | Contents | Links => PAIR,
            IdFilter | ContentFilter => 8,
        }
    }

    const fn per_block(self) -> usize {
        PAYLOAD / self.entry()
    }
}

impl Shape {
    pub(crate) fn entries(&self, table: Table) -> usize {
        match table {
            Offsets | Ids => self.events as usize,
            Contents => self.contents as usize,
            Links => self.links as usize,
            IdFilter => word_count(self.events as usize),
            ContentFilter => word_count(self.contents as usize),
        }
    }

    fn blocks(&self, table: Table) -> usize {
        self.entries(table).div_ceil(table.per_block())
    }

    fn first_block(&self, table: Table) -> usize {
        ORDER.iter().take_while(|&&before| before != table).map(|&before| self.blocks(before)).sum()
    }

    /// Bytes of all tables.
    pub(crate) fn len(&self) -> u64 {
        (BLOCK * ORDER.iter().map(|&table| self.blocks(table)).sum::<usize>()) as u64
    }
}

impl Body {
    /// The tables of so many entries. Each list of keys and places is asked for when its turn comes, and need not be
    /// sorted: they are large, and so only one of them is in memory at a time.
    pub(crate) fn new(
        shape: Shape,
        offsets: impl Iterator<Item = u32>,
        pairs: impl Fn(Table) -> Result<Vec<(u64, u32)>, String>,
    ) -> Result<Self, String> {
        let mut body = Self { shape, bytes: Vec::with_capacity(shape.len() as usize) };
        body.table(Offsets, offsets.map(u32::to_le_bytes));
        let mut filters = Vec::new();
        for table in [Ids, Contents, Links] {
            let mut pairs = pairs(table)?;
            if table != Links {
                filters.push(filter(&pairs));
            }
            pairs.sort_unstable();
            body.table(table, pairs.iter().map(|&(key, value)| pair(key, value)));
        }
        for (table, words) in [IdFilter, ContentFilter].into_iter().zip(filters) {
            body.table(table, words.into_iter().map(u64::to_le_bytes));
        }
        Ok(body)
    }

    fn table<const N: usize>(&mut self, table: Table, mut entries: impl Iterator<Item = [u8; N]>) {
        for _ in 0..self.shape.blocks(table) {
            let start = self.bytes.len();
            entries.by_ref().take(table.per_block()).for_each(|entry| self.bytes.extend_from_slice(&entry));
            self.bytes.resize(start + PAYLOAD, 0);
            let crc = crc32fast::hash(&self.bytes[start..]);
            self.bytes.extend_from_slice(&crc.to_le_bytes());
        }
    }

    pub(crate) fn tables(&self) -> Tables<'_> {
        Tables { shape: self.shape, blocks: self }
    }
}

fn pair(key: u64, value: u32) -> [u8; PAIR] {
    let mut entry = [0; PAIR];
    entry[..8].copy_from_slice(&key.to_le_bytes());
    entry[8..].copy_from_slice(&value.to_le_bytes());
    entry
}

fn filter(pairs: &[(u64, u32)]) -> Vec<u64> {
    let mut words = vec![0; word_count(pairs.len())];
    for &(key, _) in pairs {
        let (word, mask) = bits(key, words.len());
        words[word] |= mask;
    }
    words
}

impl Blocks for Body {
    fn read(&self, number: u64, block: &mut Block) -> Result<(), String> {
        let start = number as usize * BLOCK;
        let bytes = self.bytes.get(start..start + BLOCK).ok_or("its tables end too early")?;
        block.copy_from_slice(bytes);
        Ok(())
    }
}

/// Checks a block that was read from a file.
pub(crate) fn check_block(number: u64, block: &Block) -> Result<(), String> {
    if crc32fast::hash(&block[..PAYLOAD]) == u32_at(block, PAYLOAD) {
        return Ok(());
    }
    Err(format!("block {number} of its tables does not match its checksum"))
}

impl Tables<'_> {
    /// The offsets of `count` events from `place` on.
    pub(crate) fn offsets(&self, place: u32, count: usize) -> Result<Vec<u32>, String> {
        let mut offsets = Vec::with_capacity(count);
        let end = place as usize + count;
        let (mut at, per_block) = (place as usize, Offsets.per_block());
        let mut block = [0; BLOCK];
        while at < end {
            self.block(Offsets, at / per_block, &mut block)?;
            let until = end.min((at / per_block + 1) * per_block);
            offsets.extend((at..until).map(|at| u32_at(&block, 4 * (at % per_block))));
            at = until;
        }
        Ok(offsets)
    }

    /// The values of the keys from `low` to `high` in a table of pairs.
    pub(crate) fn range(&self, table: Table, low: u64, high: u64) -> Result<Vec<u32>, String> {
        self.some(table, (low, 0), high, usize::MAX)
    }

    /// At most `limit` of the values in a table of pairs, from the pair `low` on up to the key `high`.
    pub(crate) fn some(
        &self,
        table: Table,
        low: (u64, u32),
        high: u64,
        limit: usize,
    ) -> Result<Vec<u32>, String> {
        let mut values = Vec::new();
        let mut block = [0; BLOCK];
        let Some(mut number) = self.first_block_from(table, low, &mut block)? else { return Ok(values) };
        loop {
            let count = self.count(table, number);
            let first = partition(count, |n| pair_at(&block, n) < low);
            for (key, value) in (first..count).map(|n| pair_at(&block, n)) {
                if key > high || values.len() == limit {
                    return Ok(values);
                }
                values.push(value);
            }
            number += 1;
            if number == self.shape.blocks(table) {
                return Ok(values);
            }
            self.block(table, number, &mut block)?;
        }
    }

    /// Visits all pairs of a table, in order.
    pub(crate) fn pairs(&self, table: Table, mut visit: impl FnMut(u64, u32)) -> Result<(), String> {
        let mut block = [0; BLOCK];
        for number in 0..self.shape.blocks(table) {
            self.block(table, number, &mut block)?;
            let count = self.count(table, number);
            (0..count).map(|n| pair_at(&block, n)).for_each(|(key, value)| visit(key, value));
        }
        Ok(())
    }

    /// The words of a filter.
    pub(crate) fn words(&self, table: Table) -> Result<Vec<u64>, String> {
        let mut words = Vec::with_capacity(self.shape.entries(table));
        let mut block = [0; BLOCK];
        for number in 0..self.shape.blocks(table) {
            self.block(table, number, &mut block)?;
            words.extend((0..self.count(table, number)).map(|n| u64_at(&block, 8 * n)));
        }
        Ok(words)
    }

    /// False if the filter was made without the key.
    pub(crate) fn may_contain(&self, filter: Table, key: u64) -> Result<bool, String> {
        let words = self.shape.entries(filter);
        if words == 0 {
            return Ok(false);
        }
        let (word, mask) = bits(key, words);
        let mut block = [0; BLOCK];
        self.block(filter, word / filter.per_block(), &mut block)?;
        Ok(u64_at(&block, 8 * (word % filter.per_block())) & mask == mask)
    }

    /// The first block that has a pair of at least `low`, read into `block`.
    fn first_block_from(
        &self,
        table: Table,
        low: (u64, u32),
        block: &mut Block,
    ) -> Result<Option<usize>, String> {
        let blocks = self.shape.blocks(table);
        let (mut least, mut end) = (0, blocks);
        // Keys are parts of digests and so spread evenly: the proportion tells the block, or nearly so, unless one key has
        // many pairs, as the parent of very many children. Steps that double lead to blocks on both sides, halves to the one.
        let mut number = ((u128::from(low.0) * blocks as u128) >> 64) as usize;
        let mut step = 1;
        let mut held = None;
        while least < end {
            number = number.clamp(least, end - 1);
            self.block(table, number, block)?;
            held = Some(number);
            let (first, last) = (pair_at(block, 0), pair_at(block, self.count(table, number) - 1));
            if last < low {
                least = number + 1;
                number = if end < blocks { least + (end - least) / 2 } else { number + step };
            } else if first < low || number == least {
                return Ok(Some(number));
            } else {
                end = number;
                number = if least > 0 { least + (end - least) / 2 } else { number.saturating_sub(step) };
            }
            step *= 2;
        }
        if least == blocks {
            return Ok(None);
        }
        if held != Some(least) {
            self.block(table, least, block)?;
        }
        Ok(Some(least))
    }

    /// Entries in a block of a table.
    fn count(&self, table: Table, block: usize) -> usize {
        (self.shape.entries(table) - block * table.per_block()).min(table.per_block())
    }

    fn block(&self, table: Table, number: usize, block: &mut Block) -> Result<(), String> {
        self.blocks.read((self.shape.first_block(table) + number) as u64, block)
    }
}

/// Key and value of a pair.
fn pair_at(block: &Block, n: usize) -> (u64, u32) {
    (u64_at(block, PAIR * n), u32_at(block, PAIR * n + 8))
}

/// The first of `count` numbers for which `before` is false; it is true for all that come before.
fn partition(count: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(n: u64) -> u64 {
        n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn body(count: u64, key: impl Fn(u64) -> u64) -> (Body, Vec<(u64, u32)>) {
        let pairs: Vec<_> = (0..count).map(|n| (key(n), n as u32)).collect();
        let entries = count as u32;
        let shape = Shape { events: entries, contents: entries, links: entries };
        let body = Body::new(shape, (0..entries).map(|n| 3 * n), |_| Ok(pairs.clone())).unwrap();
        (body, pairs)
    }

    #[test]
    fn every_key_is_found_where_it_is_and_no_other() {
        // Evenly spread as digests are, all in a heap, and with a key that fills several blocks.
        let kinds: [fn(u64) -> u64; 3] = [spread, |n| n, |n| if n % 3 == 0 { 7 } else { spread(n) }];
        for (count, key) in [0, 1, 340, 341, 342, 5000].into_iter().flat_map(|c| kinds.map(|key| (c, key))) {
            let (body, pairs) = body(count, key);
            let tables = body.tables();
            assert_eq!(body.bytes.len() as u64, body.shape.len());
            for &(key, _) in pairs.iter().step_by(7) {
                let mut expected: Vec<_> = pairs.iter().filter(|p| p.0 == key).map(|p| p.1).collect();
                expected.sort_unstable();
                assert_eq!(tables.range(Ids, key, key).unwrap(), expected, "{count} {key}");
                for (from, limit) in [(count as u32 / 2, 9), (count as u32, 1), (0, 400), (5, 0)] {
                    let some: Vec<_> =
                        expected.iter().copied().filter(|value| *value >= from).take(limit).collect();
                    assert_eq!(tables.some(Links, (key, from), key, limit).unwrap(), some, "{count} {key}");
                }
                assert!(tables.may_contain(IdFilter, key).unwrap());
            }
            for key in [0, 6, 8, u64::MAX / 3, u64::MAX] {
                let expected = pairs.iter().filter(|p| p.0 == key).count();
                assert_eq!(tables.range(Links, key, key).unwrap().len(), expected);
            }
            assert_eq!(tables.range(Contents, 0, u64::MAX).unwrap().len(), pairs.len());
            let mut visited = 0;
            tables.pairs(Contents, |_, _| visited += 1).unwrap();
            assert_eq!(visited, pairs.len());
        }
    }

    #[test]
    fn a_key_with_very_many_pairs_is_found_from_anywhere() {
        const COUNT: u64 = 120_000;
        for hot in [0, 1 << 40, u64::MAX / 2, u64::MAX - 7] {
            let (body, mut pairs) = body(COUNT, |n| if n % 100 == 0 { spread(n) } else { hot });
            pairs.sort_unstable();
            let tables = body.tables();
            for (key, from) in pairs.iter().step_by(977).copied().chain([(hot, 0), (hot, u32::MAX)]) {
                let first = pairs.partition_point(|pair| *pair < (key, from));
                let some = pairs[first..].iter().take_while(|pair| pair.0 == key).take(3).map(|pair| pair.1);
                assert_eq!(
                    tables.some(Links, (key, from), key, 3).unwrap(),
                    some.collect::<Vec<_>>(),
                    "{key}"
                );
            }
        }
    }

    #[test]
    fn offsets_are_read_across_blocks() {
        let (body, _) = body(5000, spread);
        let offsets = body.tables().offsets(1000, 3000).unwrap();
        assert_eq!(offsets, (1000..4000).map(|n| 3 * n).collect::<Vec<_>>());
    }

    #[test]
    fn a_filter_has_few_false_hits() {
        let (body, _) = body(20_000, spread);
        let hits =
            (30_000..50_000).filter(|&n| body.tables().may_contain(IdFilter, spread(n)).unwrap()).count();
        assert!(hits < 1_000, "{hits} of 20,000");
    }
}
