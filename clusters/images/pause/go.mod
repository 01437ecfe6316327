module holdfast/images/pause

go 1.26.0
