// Puts the shards of one sample into its result file, and proves that nothing is missing.
process COLLECT {
    tag "${sample}"
    label 'writer'

    input:
    tuple val(sample), path(manifest), path(shards, stageAs: 'shards/*', arity: '0..*')
    path cards, stageAs: 'cards/?/*', arity: '2'
    val residues // true: their files are among the shards

    output:
    tuple val(sample), path("${sample}.h5"), path("${sample}.summary.json"), path("${sample}.proteins.faa.gz"), emit: result
    path "${sample}/${sample}.residues.h5", emit: residues, optional: true

    script:
    """
    virembed collect \\
        --manifest ${manifest} \\
        --shards shards \\
        --weights ${cards[0]} \\
        --weights ${cards[1]} \\
        --out ${sample}.h5 \\
        --summary ${sample}.summary.json \\
        --proteins ${sample}.proteins.faa.gz${residues ? " --residues ${sample}/${sample}.residues.h5" : ''}
    """

    stub:
    """
    touch ${sample}.h5 ${sample}.summary.json ${sample}.proteins.faa.gz
    ${residues ? "mkdir ${sample} && touch ${sample}/${sample}.residues.h5" : ''}
    """
}
