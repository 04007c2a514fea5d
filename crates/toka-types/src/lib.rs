//! The vocabulary of Toka: ids, time, labels, records, capabilities, operations. No I/O; no_std with alloc.
