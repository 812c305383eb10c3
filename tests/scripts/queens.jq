# The eight queens: how many ways, and the first of them. The input is the side of the board.
def safe($at): . as $rows
  | all(range(length); . as $i | $rows[$i] | . != $at and (. - $at | fabs) != ($rows | length) - $i);
def place($side):
  if length == $side then .
  else range($side) as $at | select(safe($at)) | . + [$at] | place($side) end;

. as $side | [[] | place($side)] | [length, .[0]]
