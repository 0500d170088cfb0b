include { CHECK } from '../modules/check'
include { SPLIT } from '../modules/split'
include { EMBED_ESM2 } from '../modules/embed_esm2'
include { EMBED_DNABERTS } from '../modules/embed_dnaberts'
include { COLLECT } from '../modules/collect'
include { WEIGHTS } from '../modules/weights'

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

// Names, sizes and times of the files of a model. Nextflow hashes a directory by its own path and
// time only; with this value -resume sees a changed file in it.
def fingerprint(source) {
    def files = []
    if (source.isDirectory()) {
        source.eachFileRecurse(groovy.io.FileType.FILES) { path -> files.add(path) }
    }
    else {
        files.add(source)
    }
    return files.collect { path -> "${path.name} ${path.size()} ${path.lastModified()}".toString() }.sort().join('\n').md5()
}

workflow VIREMBED {
    take:
    sheet // path
    rules // map of the options of SPLIT
    weights // [[model, path], ...]: converted directories, or what is still to be converted

    main:
    staged = sheetFiles(sheet)
    CHECK(sheet, sheet.parent.toString(), ranges(staged.collect { line, _path -> line }), staged.collect { _line, path -> path }, rules.duplicate_ids)

    // [sample, [fasta, ...]]: a sample's tasks get its own values only, so that a change elsewhere in
    // the sheet leaves them as they are
    samples = CHECK.out
        // not splitCsv, which takes a quote in a path for an error
        .flatMap { csv -> csv.readLines().drop(1).collect { line -> cells(line) }.groupBy { row -> row[0] }.collect { sample, rows -> [sample, rows] } }
        .map { sample, rows -> tuple(sample, rows.collect { row -> file(row[1], glob: false) }) }

    // [sample, manifest, [esm2 chunk, ...], [dnaberts chunk, ...]]
    SPLIT(samples, rules)
    cut = SPLIT.out

    // [model, fingerprint, directory]
    models = channel.fromList(weights.collect { model, source -> tuple(model, fingerprint(source), source) })
        .branch { _model, _fingerprint, source ->
            converted: source.resolve('weights.json').exists()
            original: true
        }
    WEIGHTS(models.original)
    ready = models.converted.mix(WEIGHTS.out)
    esm2 = ready.filter { model, _fingerprint, _dir -> model == 'esm2' }.map { _model, id, dir -> tuple(id, dir) }.first()
    dnaberts = ready.filter { model, _fingerprint, _dir -> model == 'dnaberts' }.map { _model, id, dir -> tuple(id, dir) }.first()

    // [sample, shard]
    EMBED_ESM2(cut.flatMap { sample, _manifest, proteins, _dna -> proteins.collect { chunk -> tuple(sample, chunk) } }, esm2)
    EMBED_DNABERTS(cut.flatMap { sample, _manifest, _proteins, dna -> dna.collect { chunk -> tuple(sample, chunk) } }, dnaberts)
    shards = EMBED_ESM2.out.mix(EMBED_DNABERTS.out)

    // [sample, [shard, ...]] as soon as the last shard of the sample is there; a sample without any
    // chunk goes round the grouping, which would lose it
    counted = cut.map { sample, _manifest, proteins, dna -> tuple(sample, proteins.size() + dna.size()) }
    grouped = counted
        .combine(shards, by: 0)
        .map { sample, num_chunks, shard -> tuple(groupKey(sample, num_chunks), shard) }
        .groupTuple()
        .map { key, files -> tuple(key.groupTarget, files) }
    bare = counted.filter { _sample, num_chunks -> num_chunks == 0 }.map { sample, _num_chunks -> tuple(sample, []) }

    COLLECT(
        cut.map { sample, manifest, _proteins, _dna -> tuple(sample, manifest) }.join(grouped.mix(bare)),
        esm2.combine(dnaberts).map { _id, dir, _other_id, other_dir -> [dir.resolve('weights.json'), other_dir.resolve('weights.json')] }.first(),
    )
}
