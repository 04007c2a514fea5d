//! The standard tools: echo, fs.list and fs.read.
