// The files that a sample sheet names, before anything was checked.

// The values of a line of CSV, quoted or not.
def cells(line) {
    return "${line},".toString()
        .findAll(/\s*("(?:[^"]|"")*"|[^,"]*),/) { _all, cell -> cell.trim() }
        .collect { cell -> cell.startsWith('"') ? cell[1..-2].replace('""', '"') : cell }
}

// [line, path] of every row whose file exists, to stage the files in this order. What is wrong with
// a row or a file is for `virembed check` to say: it sees which lines are missing here.
def sheetFiles(sheet) {
    def rows = sheet.readLines().collect { line -> cells(line.replace('\uFEFF', '')) }
    def column = rows ? rows[0].indexOf('fasta') : -1
    return rows.withIndex(1)
        .findAll { row, line -> line > 1 && column >= 0 && row[column] }
        .collect { row, line -> [line, sheet.parent.resolve(row[column])] }
        .findAll { _line, path -> path.isFile() }
}

// [2, 3, 4, 7] as 2-4,7
def ranges(numbers) {
    return numbers
        .inject([]) { runs, n -> runs && runs[-1][1] == n - 1 ? runs.init() + [[runs[-1][0], n]] : runs + [[n, n]] }
        .collect { first, last -> first == last ? "${first}" : "${first}-${last}" }
        .join(',')
}
