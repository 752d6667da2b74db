// SPDX-License-Identifier: Apache-2.0
//! Makes every table of the first schema.

use redb::WriteTransaction;

use crate::error::Result;
use crate::index::tables::Tables;

/// Makes the tables.
pub fn up(tx: &WriteTransaction) -> Result<()> {
    Tables::open(tx).map(|_| ())
}
