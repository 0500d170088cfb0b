// Cuts the sequences of one sample into what the models embed: no chunk, one or many per model.
process SPLIT {
    tag "${sample}"
    label 'reader'

    input:
    tuple val(sample), val(type), path(fasta, stageAs: 'input/?/*', arity: '1..*')
    val rules

    output:
    tuple val(sample), val(type), path("${sample}.manifest.h5"), path("${sample}.split.json"), path('chunks/esm2/*.faa', arity: '0..*'), path('chunks/dnaberts/*.fna', arity: '0..*')

    script:
    """
    virembed split ${fasta} \\
        --sample '${sample}' \\
        --type ${type} \\
        --window ${rules.window} \\
        --rules ${rules.rules} \\
        --genetic-code ${rules.genetic_code} \\
        --duplicate-ids ${rules.duplicate_ids} \\
        --min-record-bp ${rules.min_record_bp} \\
        --max-contig-bp ${rules.max_contig_bp} \\
        --esm2-chunk-residues ${rules.esm2_chunk_residues} \\
        --dnaberts-chunk-bp ${rules.dnaberts_chunk_bp}
    """

    stub:
    """
    mkdir -p chunks/esm2 chunks/dnaberts
    touch ${sample}.manifest.h5
    echo '{"sample": "${sample}", "models": {"esm2": {"chunk_tokens": [1], "chunk_pairs": [1]}, "dnaberts": {"chunk_tokens": [1], "chunk_pairs": [1]}}}' > ${sample}.split.json
    touch chunks/esm2/${sample}.esm2.00000.faa
    touch chunks/dnaberts/${sample}.dnaberts.00000.fna
    """
}
