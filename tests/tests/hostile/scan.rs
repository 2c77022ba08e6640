//! What a scanner of TLS finds.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use swf_filter_tests::{process::run, stage::ONE};

use crate::stage::Scene;

/// Kinds of handshakes that a scan tries, and the number of suites that are to be found.
const VERSIONS: [(&str, usize); 6] = [
    ("ssl_2_0", 0),
    ("ssl_3_0", 0),
    ("tls_1_0", 0),
    ("tls_1_1", 0),
    ("tls_1_2", 3),
    ("tls_1_3", 3),
];

#[test]
fn a_scan_finds_nothing_old_and_nothing_without_forward_secrecy() -> Result<()> {
    let Some(scene) = Scene::new("scan", "")? else {
        return Ok(());
    };
    let file = scene.stage.world.file("scan.json");
    let mut command = scene.stage.python();
    command.args(["-m", "sslyze", "--mozilla_config", "disable", "--json_out"]);
    command.arg(&file);
    command.args([
        "--sslv2",
        "--sslv3",
        "--tlsv1",
        "--tlsv1_1",
        "--tlsv1_2",
        "--tlsv1_3",
    ]);
    command.args([
        "--compression",
        "--reneg",
        "--heartbleed",
        "--robot",
        "--openssl_ccs",
    ]);
    command.args(["--early_data", "--ems", "--elliptic_curves", ONE]);
    run(&mut command)?;
    let scan: Value = serde_json::from_slice(&fs::read(&file)?)?;
    let results = &scan["server_scan_results"][0]["scan_result"];
    let result = |name: &str| -> Result<&Value> {
        let found = &results[name];
        ensure!(found["status"] == "COMPLETED", "{name}: {found}");
        Ok(&found["result"])
    };
    for (version, count) in VERSIONS {
        let name = format!("{version}_cipher_suites");
        let accepted = result(&name)?["accepted_cipher_suites"].as_array();
        let accepted = accepted.context("no list of suites")?;
        let names: Vec<&str> = (accepted.iter())
            .filter_map(|suite| suite["cipher_suite"]["name"].as_str())
            .collect();
        println!("{version}: {}", names.join(" "));
        ensure!(names.len() == count, "{version}: {names:?}");
        let is_modern = |name: &&str| {
            let kind = if version == "tls_1_2" {
                "TLS_ECDHE_ECDSA_"
            } else {
                "TLS_"
            };
            name.starts_with(kind) && (name.contains("_GCM_") || name.contains("CHACHA20"))
        };
        ensure!(names.iter().all(is_modern), "{version}: {names:?}");
    }
    let no = |name: &str, field: &str| -> Result<()> {
        let found = &result(name)?[field];
        ensure!(*found == false, "{name}: {field} is {found}");
        Ok(())
    };
    no("tls_compression", "supports_compression")?;
    no("tls_1_3_early_data", "supports_early_data")?;
    no("heartbleed", "is_vulnerable_to_heartbleed")?;
    no("openssl_ccs_injection", "is_vulnerable_to_ccs_injection")?;
    no(
        "session_renegotiation",
        "is_vulnerable_to_client_renegotiation_dos",
    )?;
    let robot = &result("robot")?["robot_result"];
    ensure!(
        robot
            .as_str()
            .is_some_and(|robot| robot.starts_with("NOT_VULNERABLE")),
        "{robot}"
    );
    let secret = &result("tls_extended_master_secret")?["supports_ems_extension"];
    ensure!(*secret == true, "an extended master secret: {secret}");
    Ok(())
}
