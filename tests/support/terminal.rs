// SPDX-License-Identifier: Apache-2.0
//! Programs on a terminal of their own.

use super::Env;

impl Env {
    /// Runs a line of a shell with a terminal as stdout and stderr; returns its exit code, and all that the terminal showed.
    pub fn on_terminal(&self, line: &str) -> (i32, String) {
        self.typing_on_terminal(line, "")
    }

    /// As [`Env::on_terminal`], where a person types `keys`, with the escapes of `printf`.
    pub fn typing_on_terminal(&self, line: &str, keys: &str) -> (i32, String) {
        let line = line.replace("umoci ", &format!("{} ", env!("CARGO_BIN_EXE_umoci")));
        let script = format!("printf '{keys}' | TERM=xterm NO_COLOR=1 script -qec '{line}' /dev/null");
        let shown = self.run("/bin/bash", ["-c", &script]);
        let text = shown.stdout.replace('\r', "");
        (shown.code.expect("code"), text)
    }
}
