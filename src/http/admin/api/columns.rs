//! The columns of a report, as a query parameter.

use crate::service::reading::reports::Columns;

/// Parses a list of columns such as `group,model`.
pub(in crate::http) fn parse_columns(text: &str) -> Result<Columns, &'static str> {
    let mut columns = Columns::default();
    for word in text.split(',').filter(|_| !text.is_empty()) {
        let column = match word {
            "group" => &mut columns.group,
            "model" => &mut columns.model,
            "key" => &mut columns.key,
            "day" => &mut columns.day,
            "hour" => &mut columns.hour,
            _ => return Err("must be a comma-separated list of group, model, key, day and hour"),
        };
        if std::mem::replace(column, true) {
            return Err("must not name a column twice");
        }
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_separated_by_commas() {
        assert_eq!(parse_columns("").unwrap(), Columns::default());
        let all = Columns { group: true, model: true, key: true, day: true, hour: true };
        assert_eq!(parse_columns("hour,day,group,key,model").unwrap(), all);
        for bad in [",", "group,", "Group", "group, model", "day,day", "week"] {
            assert!(parse_columns(bad).is_err(), "{bad}");
        }
    }
}
