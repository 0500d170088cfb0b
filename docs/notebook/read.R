# A result of virembed in R, without Python. Debian and Ubuntu: apt-get install r-cran-hdf5r,
# elsewhere: install.packages("hdf5r"), which needs the HDF5 library of the system.
#
#     source("read.R")
#     rows <- read_rows("S1.h5")
#     esm2 <- read_vectors("S1.h5", "X_esm2", rows = which(rows$has_esm2))
library(hdf5r)

# All of a column. hdf5r cannot read text of which there is none, as in a sample without rows.
read_column <- function(column) {
  is_text <- inherits(column$get_type(), "H5T_STRING")
  if (is_text && column$dims == 0) character(0) else column$read()
}

# A table of the file, with its ids as row names: of the rows, or of the records ("uns/records").
read_table <- function(file, group = "obs") {
  file <- H5File$new(file, mode = "r")
  on.exit(file$close_all())
  table <- file[[group]]
  columns <- h5attr(table, "column-order")
  values <- lapply(columns, function(name) {
    column <- table[[name]]
    if (!inherits(column, "H5Group")) return(read_column(column))
    # text that repeats is stored as numbers, from 0, into a list of what occurs
    categories <- read_column(column[["categories"]])
    codes <- column[["codes"]]$read()
    factor(categories[replace(codes, codes < 0, NA) + 1], levels = categories)
  })
  names(values) <- columns
  ids <- read_column(table[[h5attr(table, "_index")]])
  data.frame(values, row.names = ids, check.names = FALSE)
}

read_rows <- function(file) read_table(file, "obs")

# Vectors of a result, a row of the matrix for a row of the result, named by its id.
#
# HDF5 in R counts dimensions from the other end: a matrix of rows x dimensions arrives as
# dimensions x rows, and is turned here. Numbers become double: 8 bytes each instead of 2. `rows`
# are numbers from 1, ascending; NULL reads all. Rows without a vector are NaN.
read_vectors <- function(file, name = "X_esm2", rows = NULL) {
  file <- H5File$new(file, mode = "r")
  on.exit(file$close_all())
  stored <- file[["obsm"]][[name]]
  ids <- read_column(file[["obs/row_id"]])
  if (is.null(rows)) rows <- seq_along(ids)
  if (length(rows) == 0) return(matrix(0, 0, stored$dims[1]))
  vectors <- t(stored[, rows, drop = FALSE])
  rownames(vectors) <- ids[rows]
  vectors
}

# Each dimension centred and divided by its standard deviation over all rows of the file.
standardise <- function(vectors, file, name = "X_esm2") {
  file <- H5File$new(file, mode = "r")
  on.exit(file$close_all())
  stats <- file[["uns/stats"]][[name]]
  spread <- sqrt(stats[["m2"]]$read() / max(stats[["n"]]$read() - 1, 1))
  spread[spread == 0] <- 1
  scale(vectors, center = stats[["mean"]]$read(), scale = spread)
}
