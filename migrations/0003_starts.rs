// SPDX-License-Identifier: Apache-2.0
//! How the tars of large layers begin. Nothing that is there changes.

use redb::WriteTransaction;

use crate::error::Result;
use crate::index::tables::Tables;

/// Makes the new table.
pub fn up(tx: &WriteTransaction) -> Result<()> {
    Tables::open(tx).map(|_| ())
}
