// SPDX-License-Identifier: Apache-2.0
//! `umoci config`

use crate::support::Image;

/// Runs `config` and returns what `filter` finds in the new configuration.
fn after(image: &Image, words: &[&str], filter: &str) -> String {
    image
        .env
        .umoci([&["config", "--image", "img"], words].concat())
        .ok();
    let path = image.blob("config");
    image
        .env
        .sh(&format!("jq -c '{filter}' {}", path.display()))
        .trim_end()
        .to_owned()
}

#[test]
fn each_option_changes_its_field() {
    let image = Image::new();
    for (words, filter, want) in [
        (&["--config.user", "a:b"][..], ".config.User", "\"a:b\""),
        (
            &["--config.cmd", "x", "--config.cmd", "-c"],
            ".config.Cmd",
            "[\"x\",\"-c\"]",
        ),
        (
            &[
                "--config.cmd",
                "a",
                "--config.cmd",
                "",
                "--config.cmd",
                "",
                "--config.cmd",
                "b",
            ],
            ".config.Cmd",
            "[\"a\",\"\",\"b\"]",
        ),
        (&["--config.cmd", ""], ".config.Cmd", "[\"\"]"),
        (&["--config.entrypoint", "e"], ".config.Entrypoint", "[\"e\"]"),
        (
            &["--config.env", "A=1", "--config.env", "B=2"],
            ".config.Env",
            "[\"A=1\",\"B=2\"]",
        ),
        (&["--config.env", "A=3"], ".config.Env", "[\"A=3\",\"B=2\"]"),
        (
            &["--config.label", "k=v", "--config.label", "e="],
            ".config.Labels",
            "{\"e\":\"\",\"k\":\"v\"}",
        ),
        (&["--config.volume", "/v"], ".config.Volumes", "{\"/v\":{}}"),
        (
            &["--config.exposedports", "80/tcp"],
            ".config.ExposedPorts",
            "{\"80/tcp\":{}}",
        ),
        (
            &["--config.workingdir", "/w", "--config.stopsignal", "SIGHUP"],
            "[.config.WorkingDir,.config.StopSignal]",
            "[\"/w\",\"SIGHUP\"]",
        ),
        (
            &["--author", "me", "--created", "2020-01-02T03:04:05.600+00:00"],
            "[.author,.created]",
            "[\"me\",\"2020-01-02T03:04:05.6Z\"]",
        ),
        (
            &[
                "--platform.os",
                "plan9",
                "--platform.arch",
                "mips",
                "--platform.variant",
                "v1",
            ],
            "[.os,.architecture,.variant]",
            "[\"plan9\",\"mips\",\"v1\"]",
        ),
        (&[], ".variant", "\"v1\""),
        (
            &["--clear", "config.env", "--config.env", "C=1"],
            ".config.Env",
            "[\"C=1\"]",
        ),
        (
            &[
                "--clear",
                "config.labels",
                "--clear",
                "config.cmd",
                "--clear",
                "config.entrypoint",
                "--clear",
                "config.volume",
                "--clear",
                "config.exposedports",
            ],
            "[.config.Labels,.config.Cmd,.config.Entrypoint,.config.Volumes,.config.ExposedPorts]",
            "[null,null,null,null,null]",
        ),
        (
            &[
                "--history.comment",
                "c",
                "--history.author",
                "h",
                "--history.created_by",
                "b",
            ],
            ".history[-1]",
            "{\"created\":\"2023-11-14T22:13:20Z\",\"created_by\":\"b\",\"author\":\"h\",\"comment\":\"c\",\"empty_layer\":true}",
        ),
    ] {
        assert_eq!(after(&image, words, filter), want, "{words:?}");
    }
    let steps = image.config()["history"].as_array().map(Vec::len);
    after(&image, &["--no-history"], ".");
    assert_eq!(image.config()["history"].as_array().map(Vec::len), steps);
    after(&image, &["--manifest.annotation", "a=b=c"], ".");
    assert_eq!(image.manifest()["annotations"]["a"], "b=c");
    after(&image, &["--clear", "manifest.annotations"], ".");
    assert!(image.manifest()["annotations"].is_null());
}

#[test]
fn what_is_not_named_stays_unknown_fields_included() {
    let image = Image::new();
    image.edit_config(|c| {
        c["config"]["Healthcheck"] = serde_json::json!({"Test": ["NONE"]});
        c["container_config"] = serde_json::json!({"x": [1, null]});
    });
    let kept = after(
        &image,
        &["--config.user", "x", "--tag", "latest"],
        "[.config.Healthcheck,.container_config]",
    );
    assert_eq!(kept, "[{\"Test\":[\"NONE\"]},{\"x\":[1,null]}]");
    let before = image.entry();
    image
        .env
        .umoci(["config", "--image", "img", "--tag", "other", "--config.user", "y"])
        .ok();
    assert_eq!(image.entry(), before, "--tag leaves the old tag alone");
}

#[test]
fn a_template_and_a_dry_run() {
    let image = Image::new();
    let env = &image.env;
    let before = env.read("img/index.json");
    let shown = env
        .umoci(["config", "--image", "img", "--config.user", "nobody", "--dry-run"])
        .ok();
    assert!(shown.contains("\"User\": \"nobody\""), "{shown}");
    assert_eq!(env.read("img/index.json"), before);
    env.write(
        "template.json",
        r#"{"os":"linux","architecture":"s390x","config":{"User":"t","Shell":["x"]},"history":[{}]}"#,
    );
    let got = after(
        &image,
        &["--from-file", "template.json"],
        "[.architecture,.config.User,.config.Shell,(.rootfs.diff_ids|length),(.history|length)]",
    );
    assert_eq!(got, "[\"s390x\",\"t\",[\"x\"],2,3]");
}

#[test]
fn wrong_values_are_named_and_write_nothing() {
    let image = Image::new();
    let env = &image.env;
    env.write("no-os", r#"{"architecture":"amd64","config":{}}"#);
    env.write("null", r#"{"os":null,"architecture":null}"#);
    let before = env.sh("find img -path img/.umoci -prune -o -type f -print | sort; cat img/index.json");
    for (words, want) in [
        (&["--config.env", "X"][..], "config.env: must contain '=': X"),
        (
            &["--config.env", "=x"],
            "config.env: must have non-empty name: =x",
        ),
        (&["--config.label", "X"], "config.label: must contain '=': X"),
        (
            &["--manifest.annotation", "X"],
            "manifest.annotation: must contain '=': X",
        ),
        (
            &["--clear", "rootfs.diffids"],
            "--clear=rootfs.diffids is not safe",
        ),
        (&["--clear", "a,b"], "unknown key to --clear: a,b"),
        (
            &["--created", "now"],
            "parse --created: not a time of RFC 3339: \"now\"",
        ),
        (
            &["--history.created", "1997"],
            "parsing --history.created: not a time of RFC 3339: \"1997\"",
        ),
        (
            &["--tag", ""],
            "invalid --tag: tag contains invalid characters: \"\"",
        ),
        (
            &["extra"],
            "invalid number of positional arguments: expected none",
        ),
        (&["--from-file", "none"], "open none: no such file or directory"),
        (
            &["--from-file", "no-os"],
            "--from-file no-os: the document has no \"os\": add it, or give --platform.os and --platform.arch",
        ),
        (
            &["--from-file", "null", "--os", "linux"],
            "--from-file null: the document has no \"architecture\": add it, or give --platform.os and --platform.arch",
        ),
    ] {
        let words = [&["config", "--image", "img"], words].concat();
        assert_eq!(env.umoci(&words).fails(), want, "{words:?}");
    }
    assert_eq!(
        env.sh("find img -path img/.umoci -prune -o -type f -print | sort; cat img/index.json"),
        before
    );
}
