// SPDX-License-Identifier: Apache-2.0
//! Programs on a terminal of their own.

use super::Env;

impl Env {
    /// Runs a line of a shell with a terminal as stdout and stderr; returns its exit code, and all that the terminal showed.
    pub fn on_terminal(&self, line: &str) -> (i32, String) {
        let line = line.replace("umoci ", &format!("{} ", env!("CARGO_BIN_EXE_umoci")));
        let script = format!("TERM=xterm NO_COLOR=1 script -qec '{line}' /dev/null </dev/null");
        let shown = self.run("/bin/bash", ["-c", &script]);
        let text = shown.stdout.replace('\r', "");
        (shown.code.expect("code"), text)
    }
}
