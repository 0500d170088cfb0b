include { WEIGHTS } from '../modules/weights'

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

// A model as its tasks know it: its fingerprint, and the most it computes for a token and for a pair
// of tokens of a sequence, for their time limits. The feed-forward part is taken as gated, and an
// operation of attention as slow as five of a product.
def about(fingerprint, dir) {
    def card = new groovy.json.JsonSlurper().parseText(dir.resolve('weights.json').text)
    def width = (card.dim ?: 0) as Long
    def layers = (card.num_layers ?: 0) as Long
    return [
        fingerprint: fingerprint,
        flops_per_token: 2 * layers * width * (4 * width + 3 * ((card.ffn_dim ?: 0) as Long)),
        flops_per_pair: 5 * 4 * layers * width,
    ]
}

// The weights of both models as directories that tasks can read, converted where they are not.
workflow MODELS {
    take:
    weights // [[model, path], ...]: converted directories, or what is still to be converted
    store // directory for what is converted, shared by all runs; null: the work directory

    main:
    given = channel.fromList(weights.collect { model, source -> tuple(model, fingerprint(source), source) })
        .branch { _model, _fingerprint, source ->
            converted: source.resolve('weights.json').exists()
            original: true
        }
    WEIGHTS(given.original, store ? store.toString() : '')
    // What is in the store is known by itself and not by what it was converted from: the same
    // weights from another place, or given as the directory in the store, embed nothing anew.
    made = store ? WEIGHTS.out.map { model, _id, link -> tuple(model, fingerprint(link.toRealPath()), link.toRealPath()) } : WEIGHTS.out
    ready = given.converted.mix(made)
    esm2 = ready
        .filter { model, _id, _dir -> model == 'esm2' }
        .map { _model, id, dir -> tuple(about(id, dir), dir) }
        .first()
    dnaberts = ready
        .filter { model, _id, _dir -> model == 'dnaberts' }
        .map { _model, id, dir -> tuple(about(id, dir), dir) }
        .first()
    cards = esm2.combine(dnaberts)
        .map { _about, dir, _other, other_dir -> [dir.resolve('weights.json'), other_dir.resolve('weights.json')] }
        .first()

    emit:
    esm2 // [what tasks know of the model, directory]
    dnaberts
    cards // [esm2 card, dnaberts card]
}
