//! The assignment of all to all that costs least.

/// To which column each row is assigned so that all of it costs least: each column but the last one takes one row at most, the last
/// one any number.
///
/// The Hungarian method with potentials: one row after the other finds the cheapest way to a free column, on which those that are
/// assigned already may move on.
pub(super) fn assigned(costs: &[Vec<f64>]) -> Vec<usize> {
    let rows = costs.len();
    let last = costs.first().map_or(0, Vec::len).saturating_sub(1);
    // The last column once for each row.
    let columns = last + rows;
    let cost = |row: usize, column: usize| costs[row][column.min(last)];
    // Row and column 0 stand for none.
    let (mut row_price, mut column_price) = (vec![0.0; rows + 1], vec![0.0; columns + 1]);
    let mut row_of = vec![0; columns + 1];
    for row in 1..=rows {
        let (mut from, mut cheapest) = (vec![0; columns + 1], vec![f64::INFINITY; columns + 1]);
        let mut is_used = vec![false; columns + 1];
        row_of[0] = row;
        let mut at = 0;
        while row_of[at] != 0 {
            is_used[at] = true;
            let (here, mut step, mut next) = (row_of[at], f64::INFINITY, 0);
            for column in (1..=columns).filter(|&column| !is_used[column]) {
                let more = cost(here - 1, column - 1) - row_price[here] - column_price[column];
                if more < cheapest[column] {
                    (cheapest[column], from[column]) = (more, at);
                }
                if cheapest[column] < step {
                    (step, next) = (cheapest[column], column);
                }
            }
            for column in 0..=columns {
                if is_used[column] {
                    row_price[row_of[column]] += step;
                    column_price[column] -= step;
                } else {
                    cheapest[column] -= step;
                }
            }
            at = next;
        }
        while at != 0 {
            row_of[at] = row_of[from[at]];
            at = from[at];
        }
    }
    let mut assigned = vec![last; rows];
    for (column, &row) in row_of.iter().enumerate().skip(1).filter(|&(_, &row)| row != 0) {
        assigned[row - 1] = (column - 1).min(last);
    }
    assigned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_cost_least_though_each_takes_what_another_would_rather_have() {
        assert_eq!(assigned(&[vec![1.0, 2.0, 9.0], vec![1.0, 5.0, 9.0]]), [1, 0]);
        let chain = [vec![0.0, 1.0, 9.0, 9.0, 20.0], vec![0.0, 0.0, 1.0, 9.0, 20.0], vec![9.0, 0.0, 9.0, 9.0, 20.0]];
        assert_eq!(assigned(&chain), [0, 2, 1]);
    }

    #[test]
    fn any_number_are_nobodys() {
        assert_eq!(assigned(&[vec![5.0, 1.0], vec![4.0, 1.0], vec![0.0, 1.0]]), [1, 1, 0]);
        assert_eq!(assigned(&[vec![3.0], vec![2.0]]), [0, 0]);
        assert!(assigned(&[]).is_empty());
    }
}
