include { CHECK } from '../modules/check'
include { SPLIT } from '../modules/split'
include { PLAN } from '../modules/plan'
include { DOCTOR } from '../modules/doctor'
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

// The card of a weights directory; {} for a damaged one, which is for the tasks to complain of.
def readCard(dir) {
    try {
        return new groovy.json.JsonSlurper().parseText(dir.resolve('weights.json').text)
    }
    catch (Exception _damaged) {
        return [:]
    }
}

// A model as its tasks know it: its fingerprint, and the most it computes for a letter of a chunk, for
// their time limits. The feed-forward part is taken as gated, and an operation of attention, over
// windows that are open from end to end, as slow as five of a product.
def about(fingerprint, dir, lettersPerToken, longest) {
    def card = new groovy.json.JsonSlurper().parseText(dir.resolve('weights.json').text)
    def width = (card.dim ?: 0) as Long
    def layers = (card.num_layers ?: 0) as Long
    def products = 2 * layers * width * (4 * width + 3 * ((card.ffn_dim ?: 0) as Long))
    def attention = 5 * 4 * layers * width * longest.intdiv(lettersPerToken)
    return [fingerprint: fingerprint, flops_per_letter: (products + attention).intdiv(lettersPerToken)]
}

// Free bytes where a local directory is or will be; null elsewhere.
def freeBytes(dir) {
    if (dir.toUri().scheme != 'file') {
        return null
    }
    return dir.exists() ? java.nio.file.Files.getFileStore(dir).usableSpace : freeBytes(dir.parent)
}

// The free space beside the needed one, and what to do where it is not enough.
def spaceText(total, places) {
    return places
        .collect { need, dir -> [total[need] as Long, dir, freeBytes(dir)] }
        .findAll { _needed, _dir, free -> free != null }
        .collect { needed, dir, free ->
            def text = "free       ${String.format('%,.1f', free / 1e9d)} GB in ${dir}"
            free < needed ? "${text}: NOT ENOUGH. Make room, or choose another directory" : text
        }
        .join('\n')
}

workflow VIREMBED {
    take:
    sheet // path
    rules // map of the options of SPLIT
    weights // [[model, path], ...]: converted directories, or what is still to be converted
    options // map: outdir, gpu, doctor, plan_only

    main:
    staged = sheetFiles(sheet)
    CHECK(sheet, sheet.parent.toString(), ranges(staged.collect { line, _path -> line }), staged.collect { _line, path -> path }, rules.duplicate_ids)

    // [sample, [fasta, ...]]: a sample's tasks get its own values only, so that a change elsewhere in
    // the sheet leaves them as they are
    samples = CHECK.out
        .flatMap { csv -> csv.splitCsv(header: true, quote: '"').groupBy { row -> row.sample }.collect { sample, rows -> [sample, rows] } }
        .map { sample, rows -> tuple(sample, rows.collect { row -> file(row.fasta, glob: false) }) }

    // [sample, manifest, [esm2 chunk, ...], [dnaberts chunk, ...]]
    SPLIT(samples, rules)
    cut = options.plan_only ? channel.empty() : SPLIT.out.cut

    // [model, fingerprint, directory]
    models = channel.fromList(weights.collect { model, source -> tuple(model, fingerprint(source), source) })
        .branch { _model, _fingerprint, source ->
            converted: source.resolve('weights.json').exists()
            original: true
        }
    WEIGHTS(models.original)
    ready = models.converted.mix(WEIGHTS.out)

    // [what tasks know of the model, directory]
    esm2 = ready.filter { model, _fingerprint, _dir -> model == 'esm2' }.map { _model, id, dir -> tuple(about(id, dir, 1, rules.window.intdiv(3)), dir) }.first()
    dnaberts = ready.filter { model, _fingerprint, _dir -> model == 'dnaberts' }.map { _model, id, dir -> tuple(about(id, dir, 4, rules.window), dir) }.first()
    cards = esm2.combine(dnaberts).map { _about, dir, _other, other_dir -> [dir.resolve('weights.json'), other_dir.resolve('weights.json')] }.first()

    // What a device measured of itself; no chunk is embedded before that went well, and it is no
    // part of what a chunk is embedded with.
    checked = channel.value(true)
    doctor = channel.value([])
    if (options.doctor) {
        DOCTOR()
        checked = DOCTOR.out.map { _file -> true }
        doctor = DOCTOR.out.map { file -> [file] }
    }
    proven_esm2 = esm2.combine(checked).map { model, dir, _ok -> tuple(model, dir) }.first()
    proven_dnaberts = dnaberts.combine(checked).map { model, dir, _ok -> tuple(model, dir) }.first()

    // What comes, from all samples in one file; shown in the log.
    PLAN(SPLIT.out.workload.collectFile(name: 'workloads.json', sort: true), cards, doctor, options.gpu ?: '')
    PLAN.out.table
        .combine(PLAN.out.total)
        .subscribe { table, total ->
            def needed = new groovy.json.JsonSlurper().parseText(total.text).total
            log.info("${table}${spaceText(needed, [work_bytes: workDir, result_bytes: options.outdir])}\n")
        }

    // [sample, shard]
    EMBED_ESM2(cut.flatMap { sample, _manifest, proteins, _dna -> proteins.collect { chunk -> tuple(sample, chunk) } }, proven_esm2)
    EMBED_DNABERTS(cut.flatMap { sample, _manifest, _proteins, dna -> dna.collect { chunk -> tuple(sample, chunk) } }, proven_dnaberts)
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
        cards,
    )
}
