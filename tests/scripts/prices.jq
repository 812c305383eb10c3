# What each order costs, with prices that the server knows. An article that it does not know costs nothing and is named.
.orders[:20][]
| [ .lines[]
    | . as $line
    | try ($line.article | call("price_of") * $line.count)
      catch ({ unknown: $line.article, why: . } | debug | 0) ]
| add
