# What was sold: by customer, who bought most first, and by article.
def cost: .count * .cents;
def sum(f): reduce f as $x (0; . + $x);

{
  customers: [
    .orders
    | group_by(.customer)[]
    | { customer: .[0].customer, orders: length, cents: sum(.[].lines[] | cost) }
  ] | sort_by(-.cents),
  articles: (
    [.orders[].lines[]]
    | group_by(.article)
    | map({ (.[0].article): (map(.count) | add) })
    | add
  ),
  months: (.orders | map(.day[:7]) | unique | length)
}
