//! Rows in SQLite: write-ahead log, synced with every commit.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, TransactionBehavior, params};
use toka_types::{Digest, EventId};

use super::open::Access;
use super::row::{FORMAT, LogRow, Place, Sums};
use super::{Counts, EventBytes, Loaded, TableError, Tables, Write};

/// The database's name in its directory.
pub(crate) const FILE: &str = "events.db";

/// Marks the file as a vault of this program: "Toka".
const APPLICATION_ID: i64 = 0x546f_6b61;
/// How long somebody waits for a lock that another connection holds for a moment.
const BUSY: Duration = Duration::from_secs(5);
/// Connections kept for readers; more are opened when more read at once, and closed after it.
const READERS: usize = 4;
/// What a connection may keep in memory, in KiB: a writer touches the indexes at random places.
const WRITER_CACHE_KIB: u32 = 16 << 10;
const READER_CACHE_KIB: u32 = 4 << 10;
/// The write-ahead log grows by what a checkpoint could not yet move; SQLite itself fails cleanly on a full disk.
const HEADROOM: u64 = 1 << 20;
/// What `integrity_check` lists at most.
const MAX_FOUND: u32 = 100;

const SCHEMA: &str = "
CREATE TABLE sums (
    one INTEGER PRIMARY KEY CHECK (one = 1), events INTEGER NOT NULL, contents INTEGER NOT NULL, links INTEGER NOT NULL,
    bytes INTEGER NOT NULL, deduplicated INTEGER NOT NULL, compressed INTEGER NOT NULL, crc INTEGER NOT NULL
) STRICT;
CREATE TABLE logs (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, events INTEGER NOT NULL, last BLOB NOT NULL,
    last_at INTEGER NOT NULL, frontier BLOB NOT NULL, base INTEGER, shared INTEGER, crc INTEGER NOT NULL
) STRICT;
CREATE TABLE events (
    ordinal INTEGER PRIMARY KEY, log INTEGER NOT NULL, seq INTEGER NOT NULL, id BLOB NOT NULL, header BLOB NOT NULL,
    crc INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_by_place ON events (log, seq);
CREATE INDEX events_by_id ON events (id);
CREATE TABLE causes (
    parent BLOB NOT NULL, child INTEGER NOT NULL, PRIMARY KEY (parent, child)
) STRICT, WITHOUT ROWID;
CREATE TABLE contents (
    number INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, form INTEGER NOT NULL, stored BLOB NOT NULL
) STRICT;
";

/// One database file.
pub(crate) struct Sqlite {
    file: PathBuf,
    /// None for readers, and once it is closed.
    writer: Mutex<Option<Connection>>,
    readers: Mutex<Vec<Connection>>,
}

impl Sqlite {
    pub(crate) fn open(file: &Path, access: Access) -> Result<Self, TableError> {
        if access != Access::Create && !file.is_file() {
            return Err(TableError::Damage("the database's file is missing".into()));
        }
        let writer = match access {
            Access::Create => Some(create(file)?),
            Access::Write => Some(writer(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?),
            Access::Read => None,
        };
        if let Some(connection) = &writer {
            check_format(connection)?;
        }
        let tables =
            Self { file: file.to_owned(), writer: Mutex::new(writer), readers: Mutex::new(Vec::new()) };
        tables.read(check_format)??;
        Ok(tables)
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> T) -> Result<T, TableError> {
        let kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = kept.map_or_else(|| reader(&self.file), Ok)?;
        let result = read(&connection);
        let mut kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < READERS {
            kept.push(connection);
        }
        Ok(result)
    }

    fn rows<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, TableError> {
        let read = |connection: &Connection| -> rusqlite::Result<Vec<T>> {
            connection.prepare_cached(sql)?.query_map(params, row)?.collect()
        };
        self.read(read)?.map_err(|error| failed(&error))
    }

    fn row<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        row: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, TableError> {
        let read =
            |connection: &Connection| connection.prepare_cached(sql)?.query_row(params, row).optional();
        self.read(read)?.map_err(|error| failed(&error))
    }
}

impl Tables for Sqlite {
    fn load(&self) -> Result<Option<Loaded>, TableError> {
        // One transaction, so that sums and logs are of one moment.
        let load = |connection: &Connection| -> rusqlite::Result<Option<Loaded>> {
            let transaction = connection.unchecked_transaction()?;
            let sql = "SELECT events, contents, links, bytes, deduplicated, compressed, crc FROM sums";
            let sums = transaction.prepare_cached(sql)?.query_row([], sums).optional()?;
            let sql = "SELECT number, name, events, last, last_at, frontier, base, shared, crc FROM logs ORDER BY number";
            let logs = transaction.prepare_cached(sql)?.query_map([], log)?.collect::<Result<_, _>>()?;
            Ok(sums.map(|sums| Loaded { sums, logs }))
        };
        self.read(load)?.map_err(|error| failed(&error))
    }

    fn write(&self, write: &Write) -> Result<(), TableError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connection) = writer.as_mut() else {
            return Err(TableError::Failed("the database is closed".into()));
        };
        store(connection, write).map_err(|error| failed(&error))
    }

    fn events(&self, log: u16, from: u64, limit: usize) -> Result<Vec<EventBytes>, TableError> {
        let sql = "SELECT seq, header, crc FROM events WHERE log = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.rows(sql, params![log, signed(from), limit], |row| {
            Ok(EventBytes { seq: unsigned(row.get(0)?), header: row.get(1)?, crc: row.get(2)? })
        })
    }

    fn places(&self, id: &EventId) -> Result<Vec<Place>, TableError> {
        let sql = "SELECT log, seq FROM events WHERE id = ?1 ORDER BY ordinal";
        self.rows(sql, params![id.as_bytes()], place)
    }

    fn ids(
        &self,
        low: &[u8; 32],
        high: &[u8; 32],
        limit: usize,
    ) -> Result<Vec<(EventId, Place)>, TableError> {
        let sql = "SELECT log, seq, id FROM events WHERE id >= ?1 AND id <= ?2 ORDER BY id, ordinal LIMIT ?3";
        self.rows(sql, params![low, high, limit as i64], |row| {
            Ok((EventId(Digest(row.get(2)?)), place(row)?))
        })
    }

    fn children(&self, id: &EventId, after: Option<Place>, limit: usize) -> Result<Vec<Place>, TableError> {
        let after = match after {
            None => -1,
            Some((log, seq)) => {
                let sql = "SELECT ordinal FROM events WHERE log = ?1 AND seq = ?2";
                match self.row(sql, params![log, signed(seq)], |row| row.get::<_, i64>(0))? {
                    Some(ordinal) => ordinal,
                    None => return Ok(Vec::new()),
                }
            }
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        // An entry without its event is damage that a join would hide.
        let sql = "SELECT log, seq FROM causes LEFT JOIN events ON ordinal = child
            WHERE parent = ?1 AND child > ?2 ORDER BY child LIMIT ?3";
        self.rows(sql, params![id.as_bytes(), after, limit], place)
    }

    fn content(&self, digest: &Digest) -> Result<Option<Vec<u8>>, TableError> {
        let sql = "SELECT form, stored FROM contents WHERE digest = ?1";
        self.row(sql, params![digest.as_bytes()], |row| {
            let mut stored = vec![row.get(0)?];
            stored.extend_from_slice(row.get_ref(1)?.as_blob()?);
            Ok(stored)
        })
    }

    fn content_head(&self, digest: &Digest) -> Result<Option<u8>, TableError> {
        self.row("SELECT form FROM contents WHERE digest = ?1", params![digest.as_bytes()], |row| row.get(0))
    }

    fn counts(&self) -> Result<Counts, TableError> {
        // SQLite's own check compares an index with its table, so that one count stands for both.
        let sql = "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM causes), (SELECT count(*) FROM contents)";
        let counts = self.row(sql, [], |row| {
            let [events, links, contents] = [0, 1, 2].map(|n| row.get(n).map(unsigned));
            let events = events?;
            Ok(Counts { events, ids: events, links: links?, contents: contents? })
        })?;
        counts.ok_or_else(|| TableError::Damage("nothing can be counted".into()))
    }

    fn check(&self) -> Result<Vec<String>, TableError> {
        let found: Vec<String> =
            self.rows(&format!("PRAGMA integrity_check({MAX_FOUND})"), [], |row| row.get(0))?;
        Ok(if found == ["ok"] { Vec::new() } else { found })
    }

    fn headroom(&self) -> u64 {
        HEADROOM
    }

    fn close(&self) -> Result<(), TableError> {
        let Some(connection) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        // Moves everything into the database's one file. A reader that is busy just then keeps the write-ahead log
        // alive, which is no less durable.
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        connection.query_row(checkpoint, [], |_| Ok(())).map_err(|error| failed(&error))?;
        connection.close().map_err(|(_, error)| failed(&error))
    }
}

fn create(file: &Path) -> Result<Connection, TableError> {
    // Made by hand, so that nobody else may ever read it: SQLite gives its other files the same mode.
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let made = options.write(true).create(true).truncate(false).mode(0o600).open(file);
    made.map_err(|error| TableError::Failed(error.to_string()))?;
    let mut connection = writer(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let make = |connection: &mut Connection| -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: i64 = transaction.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        if found != APPLICATION_ID {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", FORMAT)?;
        }
        transaction.commit()
    };
    make(&mut connection).map_err(|error| failed(&error))?;
    Ok(connection)
}

fn writer(file: &Path, flags: OpenFlags) -> Result<Connection, TableError> {
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        prepare(&connection, WRITER_CACHE_KIB)?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        // In this mode the write-ahead log is synced before a commit returns.
        connection.pragma_update(None, "synchronous", "FULL")?;
        Ok(connection)
    };
    open().map_err(|error| failed(&error))
}

fn reader(file: &Path) -> Result<Connection, TableError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(file, flags)?;
        prepare(&connection, READER_CACHE_KIB)?;
        // The first read shows whether the write-ahead log can be used.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(connection)
    };
    let error = match open() {
        Ok(connection) => return Ok(connection),
        Err(error) => error,
    };
    // Where nothing can be written, SQLite cannot make the files that coordinate it with a writer. If there is no
    // write-ahead log there is no writer, and the file is all there is.
    let log = file.with_file_name(format!("{FILE}-wal"));
    let Some(uri) = immutable(file).filter(|_| !log.exists()) else { return Err(failed(&error)) };
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(&uri, flags | OpenFlags::SQLITE_OPEN_URI)?;
        prepare(&connection, READER_CACHE_KIB)?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(connection)
    };
    // The first error is the one that says what is wrong.
    open().map_err(|_| failed(&error))
}

/// The URI of a file that nobody changes.
fn immutable(file: &Path) -> Option<String> {
    let escape = |c: char| match c {
        '%' | '?' | '#' => format!("%{:02x}", c as u32),
        c => c.to_string(),
    };
    let path: String = std::path::absolute(file).ok()?.to_str()?.chars().map(escape).collect();
    Some(format!("file:{path}?immutable=1"))
}

fn prepare(connection: &Connection, cache_kib: u32) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(32);
    connection.pragma_update(None, "cache_size", -i64::from(cache_kib))?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)
}

fn check_format(connection: &Connection) -> Result<(), TableError> {
    let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let (id, format) = (pragma("application_id"), pragma("user_version"));
    let (id, format) = (id.map_err(|error| failed(&error))?, format.map_err(|error| failed(&error))?);
    if id != APPLICATION_ID {
        return Err(TableError::Damage("it is no vault's database".into()));
    }
    if format != i64::from(FORMAT) {
        return Err(TableError::Format(u32::try_from(format).unwrap_or(u32::MAX)));
    }
    Ok(())
}

fn store(connection: &mut Connection, write: &Write) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let insert = "INSERT INTO contents (digest, form, stored) VALUES (?1, ?2, ?3)
            ON CONFLICT (digest) DO UPDATE SET form = excluded.form, stored = excluded.stored";
        let mut insert = transaction.prepare_cached(insert)?;
        for (digest, stored) in &write.contents {
            let (form, rest) = stored.split_first().unwrap_or((&0, &[]));
            insert.execute(params![digest.as_bytes(), form, rest])?;
        }
        let event = "INSERT INTO events (ordinal, log, seq, id, header, crc) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let mut event = transaction.prepare_cached(event)?;
        let mut cause = transaction.prepare_cached("INSERT INTO causes (parent, child) VALUES (?1, ?2)")?;
        for row in &write.events {
            let ((log, seq), ordinal) = (row.place, signed(row.ordinal));
            event.execute(params![ordinal, log, signed(seq), row.id.as_bytes(), row.header, row.crc])?;
            for parent in &row.causes {
                cause.execute(params![parent.as_bytes(), ordinal])?;
            }
        }
        for (row, crc) in &write.logs {
            let log = "INSERT INTO logs (number, name, events, last, last_at, frontier, base, shared, crc)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (number) DO UPDATE SET events = excluded.events,
                last = excluded.last, last_at = excluded.last_at, frontier = excluded.frontier, crc = excluded.crc";
            let LogRow { number, name, events, last, last_at, frontier, base } = row;
            let (base, shared) = (base.map(|(base, _)| base), base.map(|(_, shared)| signed(shared)));
            let (events, last) = (signed(*events), last.as_bytes());
            let row = params![number, name, events, last, last_at, frontier, base, shared, crc];
            transaction.prepare_cached(log)?.execute(row)?;
        }
        let (Sums { events, contents, links, bytes, deduplicated, compressed }, crc) = write.sums;
        let sums = [events, contents, links, bytes, deduplicated, compressed].map(signed);
        let [events, contents, links, bytes, deduplicated, compressed] = sums;
        transaction
            .prepare_cached("INSERT OR REPLACE INTO sums VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(params![events, contents, links, bytes, deduplicated, compressed, crc])?;
    }
    transaction.commit()
}

fn sums(row: &Row<'_>) -> rusqlite::Result<(Sums, u32)> {
    let sum = |n| row.get(n).map(unsigned);
    let sums = Sums {
        events: sum(0)?,
        contents: sum(1)?,
        links: sum(2)?,
        bytes: sum(3)?,
        deduplicated: sum(4)?,
        compressed: sum(5)?,
    };
    Ok((sums, row.get(6)?))
}

fn log(row: &Row<'_>) -> rusqlite::Result<(LogRow, u32)> {
    let log = LogRow {
        number: row.get(0)?,
        name: row.get(1)?,
        events: unsigned(row.get(2)?),
        last: EventId(Digest(row.get(3)?)),
        last_at: row.get(4)?,
        frontier: row.get(5)?,
        base: row.get::<_, Option<u16>>(6)?.zip(row.get::<_, Option<i64>>(7)?.map(unsigned)),
    };
    Ok((log, row.get(8)?))
}

fn place(row: &Row<'_>) -> rusqlite::Result<Place> {
    Ok((row.get(0)?, unsigned(row.get(1)?)))
}

/// SQLite's numbers are signed. Numbers of events never get there; any other keeps its bits.
fn signed(number: u64) -> i64 {
    number as i64
}

fn unsigned(number: i64) -> u64 {
    number as u64
}

fn failed(error: &rusqlite::Error) -> TableError {
    match error {
        rusqlite::Error::SqliteFailure(inner, _) => match inner.code {
            ErrorCode::DiskFull => TableError::Full,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => TableError::Damage(error.to_string()),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => TableError::Busy,
            _ => TableError::Failed(error.to_string()),
        },
        // A value of another type than the one that was stored.
        rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnName(_)
        | rusqlite::Error::SqlInputError { .. } => TableError::Damage(error.to_string()),
        _ => TableError::Failed(error.to_string()),
    }
}
