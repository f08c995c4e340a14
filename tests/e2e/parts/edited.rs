//! What root types into the database of a gateway that is stopped.

use belay_tests::{World, run};
use serde_json::json;
use std::process::Command;

/// Changes or removes rows, and says how many.
#[track_caller]
pub fn edit(world: &World, statement: &str, values: &[&str]) -> u64 {
    let script = "import json,sqlite3,sys\nasked=json.load(sys.stdin)\ndb=sqlite3.connect(asked['file'])\n\
                  done=db.execute(asked['statement'],asked['values'])\ndb.commit()\nprint(done.rowcount)";
    let file = world.gateway_dir().join("belay.db");
    let asked = json!({ "file": file, "statement": statement, "values": values }).to_string();
    let said = run(Command::new("python3").args(["-c", script]), asked.as_bytes()).unwrap().must();
    said.out().trim().parse().unwrap_or_else(|error| panic!("{error}: {}", said.story()))
}
