//! What is committed of the miniature fits together: study, bases, recipes, grid.

use medharness::study::{
    mini::{Method, Study},
    sweep::{Grid, MINI_LORA, Sweep},
};

use crate::trainer_support::root;

fn study() -> Study {
    Study::open(&root().join("golden/mini/study.toml")).expect("the committed study")
}

/// The committed validation split shares no question, and no 13 words, with exam and vignettes.
#[test]
fn the_committed_grid_fits_the_committed_study() {
    let grid = Grid::parse(MINI_LORA, "mini-lora".as_ref()).unwrap();
    let sweep = Sweep::new(grid, study()).unwrap();
    let values: usize = sweep.grid.vary.iter().map(|vary| vary.values.len()).sum();
    assert_eq!(sweep.points.len(), 1 + values);
    assert_eq!(sweep.row.method, Method::Lora);
}

#[test]
fn every_row_has_its_base_its_recipe_and_its_data() {
    let study = study();
    assert_eq!(study.rows.len(), 12);
    assert_eq!(study.protocols[0].id, "strict-v1");
    for row in &study.rows {
        let base = study.folder.join(&row.base);
        medharness::llama::Checkpoint::open(&base).expect(&row.id);
        assert_eq!(study.recipe(row, 0).unwrap().is_none(), row.method == Method::Base);
        let data = row.data.as_ref().map(|data| study.folder.join(data));
        assert!(data.is_none_or(|path| path.is_file()), "{}", row.id);
    }
}
